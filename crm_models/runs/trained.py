"""Use of a finished run: its models, its split, its vocabulary, and how other customers differ from its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crm_models.core.config import RunConfig
from crm_models.core.errors import RunError
from crm_models.core.files import DAMAGED, read_whole
from crm_models.core.places import Place
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID, ModelName, PlanFor
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.drift import Difference, drift
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Split
from crm_models.data.storage import digest, parts
from crm_models.planning.plans import Catalogue
from crm_models.planning.policy import Policy
from crm_models.runs.earlier import averaged, churn_members, current_weights
from crm_models.runs.folder import AGAIN, RunFolder
from crm_models.runs.tensors import load_tensors

if TYPE_CHECKING:
    from crm_models.models.churn import ChurnTransformer
    from crm_models.models.sequence import SequenceTransformer


def rows_of(customer_id: np.ndarray, table: pd.DataFrame) -> Split:
    """The saved split as rows of a cohort's customers (N,), matched by id; customers new to the run are in no part."""
    at = pd.Index(customer_id).get_indexer(pd.Index(table[CUSTOMER_ID]))
    rows = {part: np.sort(at[(table["part"] == part).to_numpy() & (at >= 0)]) for part in ("train", "valid", "test")}
    return Split(**rows)


def plan_catalogue(run: RunFolder, policy: Policy) -> Catalogue:
    """Plan vocabulary of a run under a policy. Raises `DataError` if the run's popular actions are damaged."""
    encoder, popular = run.encoder(), run.about()["popular"]
    with read_whole(run.folder / "config.json", "the popular actions of a run", "train it again"):
        return Catalogue.of(encoder, popular, policy)


@dataclass(frozen=True, kw_only=True)
class Models:
    """The trained models of a run, ready to score; None for a model that was not trained."""

    sequence: SequenceTransformer | None
    churn: ChurnTransformer | None
    encoder: FeatureEncoder
    config: RunConfig

    def score(self, cohort: Cohort, moment: Moment | None, now_days: float | None = None) -> CustomerScores:
        """Churn probability and most probable plan of every customer of the cohort at `moment`."""
        return self.score_encoded(self.encoder.encode(cohort, moment, now_days))

    def score_encoded(self, arrays: CohortArrays, plan_for: PlanFor = "whole") -> CustomerScores:
        """The same for customers already encoded by `encoder`; plan_for: see `decode_plans`."""
        from crm_models.inference.decoding import score_customers

        return score_customers(self.sequence, self.churn, arrays, self.encoder, plan_for)


def load_models(run: RunFolder, *, device: str | None = None, threads: int | None = None) -> Models:
    """Load the models of a run with their best weights. Raises `RunError` if there are no weights, or damaged ones."""
    from crm_models.models.churn import ChurnTransformer
    from crm_models.models.runtime import prepare_torch, resolve_device
    from crm_models.models.sequence import SequenceTransformer

    file, config, encoder = run.need_weights(), run.config(), run.encoder()
    prepare_torch(threads)
    place = resolve_device(device or config.device)
    tensors = current_weights(load_tensors(file, "the run's weights", AGAIN)[0])

    def weights_of(name: ModelName) -> dict[str, Any]:
        return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

    def loaded(module: Any, weights: dict[str, Any]) -> Any:
        try:
            module.load_state_dict(weights)
        except (RuntimeError, *DAMAGED):
            raise RunError(f"{file}: the weights do not fit config.json and encoder.json; {AGAIN}") from None
        return module.to(place).eval()

    # Without weights no model is initialised; without actions there could not be one.
    sequence, churn = weights_of("sequence"), weights_of("churn")
    members = [loaded(ChurnTransformer(config.churn, encoder), part) for part in churn_members(churn)]
    return Models(
        sequence=loaded(SequenceTransformer(config.sequence, encoder), sequence) if sequence else None,
        churn=averaged(members) if len(members) > 1 else next(iter(members), None),
        encoder=encoder,
        config=config,
    )


def differences(run: RunFolder, folder: Place) -> list[Difference]:
    """How the customers of a cohort folder differ from those the run was trained on; none for the run's own cohort."""
    own = digest(folder) == run.about()["cohort_hash"]
    return [] if own else drift(run.schema(), parts(folder))
