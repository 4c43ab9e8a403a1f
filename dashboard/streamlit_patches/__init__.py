"""Workarounds for defects of Streamlit, and limits that it has no setting for."""
