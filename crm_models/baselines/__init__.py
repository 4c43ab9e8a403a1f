"""Baselines: simple models to compare the Transformers with."""
