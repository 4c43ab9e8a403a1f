"""Works around two flaws of Streamlit."""
