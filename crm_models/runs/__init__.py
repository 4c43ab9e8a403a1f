"""A training as a folder."""
