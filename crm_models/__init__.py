"""CRM Transformers: personalised engagement plans and churn risk from customers' histories.

Importing this package is cheap: torch is loaded only by the modules that compute with it.
"""
