"""Generated cohorts by scenario, with known true probabilities.

`lifelike`: segments of customers with usual orders of actions. `paper`: the paper's data, which are pure noise.
`movielens`, `amazon`, `churn`: its three data sets by name, with something to learn. Each purpose has its random
stream, so that changing one draw does not change the others.
"""

from __future__ import annotations

from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic.catalogue import draw
from crm_models.data.sources.synthetic.lifelike import lifelike
from crm_models.data.sources.synthetic.paper import paper
from crm_models.data.sources.synthetic.settings import ScenarioSettings
from crm_models.data.sources.synthetic.table_one import AMAZON, CHURN, MOVIELENS
from crm_models.data.truth import Truth

__all__ = ["ScenarioSettings", "generate"]

WORLDS = {"movielens": MOVIELENS, "amazon": AMAZON, "churn": CHURN}


def generate(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
    """A cohort and the truth it was drawn from, for evaluation only; no column of the cohort contains the truth."""
    if settings.scenario in WORLDS:
        return draw(settings, WORLDS[settings.scenario])
    return paper(settings) if settings.scenario == "paper" else lifelike(settings)
