"""Workarounds for two defects of Streamlit."""
