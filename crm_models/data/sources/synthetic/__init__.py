"""Generated cohorts by scenario: `paper`, which is pure noise, and `lifelike`, whose true probabilities are known.

Each purpose has its random stream, so that changing one draw does not change the others.
"""

from __future__ import annotations

from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic.lifelike import lifelike
from crm_models.data.sources.synthetic.paper import paper
from crm_models.data.sources.synthetic.settings import ScenarioSettings
from crm_models.data.truth import Truth

__all__ = ["ScenarioSettings", "generate"]


def generate(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
    """A cohort and the truth it was drawn from, for evaluation only; no column of the cohort contains the truth."""
    return paper(settings) if settings.scenario == "paper" else lifelike(settings)
