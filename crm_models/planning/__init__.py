"""From probabilities to plans and files."""

from crm_models.planning.plans import Policy as Policy
