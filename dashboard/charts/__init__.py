"""Figures: data in, Plotly out."""
