"""Session choices of a viewer, and cached access to the files of the workspace."""
