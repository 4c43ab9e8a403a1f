"""From probabilities to plans and files."""

from crm_models.planning.policy import Policy as Policy
