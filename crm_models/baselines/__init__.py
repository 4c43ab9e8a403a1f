"""Simple methods that need no training by gradient."""
