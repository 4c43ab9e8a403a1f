"""The Streamlit app over `crm_models`: frame, pages, charts, and the queue of trainings."""
