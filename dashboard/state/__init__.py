"""What a viewer has chosen, and what lies on disk, through caches."""
