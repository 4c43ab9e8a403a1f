"""A workspace as a whole: is everything in it sound, a copy of it in one file, and back."""
