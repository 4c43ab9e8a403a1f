"""Planning: policy, plans, action mix, thresholds and export."""

from crm_models.planning.policy import Policy as Policy
