"""Whether several trainings agree on each customer's plan: as a plans.csv says, or else the seeds of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.tables import read_brought
from crm_models.core.errors import DataError
from crm_models.core.schema import CUSTOMER_ID
from crm_models.planning.export import neutralised
from crm_models.planning.stability import Stability
from crm_models.runs.folder import RunFolder
from crm_models.runs.stability import read_stability

CONFIDENT = "confident"
"""Column of plans.csv and of the decisions."""

SOURCE, GIVEN = "confident_from", "plans.csv"
"""Entry of `campaign.json`, and its value where a plans.csv was given: it then counts whatever the seeds say."""

WORDS = {"true": True, "false": False, "": None}


def read_confident(plans: Path, customer_id: np.ndarray) -> Any:
    """(N,) of True, False and NA: the column `confident` of a plans.csv by customer. `DataError` if it has none."""
    table = read_brought(plans, "plans with the column `confident`", (CUSTOMER_ID, CONFIDENT))
    said = table[CONFIDENT].astype("str").str.lower()
    if (wrong := ~said.isin(list(WORDS))).any():
        row = int(wrong.argmax())
        raise DataError(
            f"{plans} row {row + 2}, column confident: expected true or false, found {table[CONFIDENT][row]!r}"
        )
    # A spreadsheet-safe file has an apostrophe before ids that start like a formula.
    ids = table[CUSTOMER_ID].map(lambda text: text[1:] if text[:1] == "'" and neutralised(text[1:]) == text else text)
    by_id = pd.Series(said.map(WORDS).to_numpy(), index=ids)
    by_id = by_id[~by_id.index.duplicated()]  # the long layout has a row for each step
    return by_id.reindex(customer_id).astype("boolean").array


def seeds_of(about: dict[str, Any]) -> Stability | None:
    """What the seeds of a run say of a campaign's customers; None if there are none, or the run is gone.

    about: the entries of `campaign.json` on run and cohort.
    """
    if about["cohort_hash"] != about["trained_on_cohort_hash"]:
        return None
    return read_stability(RunFolder(Path(about["run"])))
