"""Scores, intervals and curves."""
