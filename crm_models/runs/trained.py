"""A finished run put to use: its models, and what they say about its held-out customers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crm_models.core.config import RunConfig
from crm_models.core.errors import RunError
from crm_models.core.files import read_whole
from crm_models.core.records import ChurnPredictions, CustomerScores, SequencePredictions
from crm_models.core.schema import CUSTOMER_ID, ModelName
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, Split, outcomes
from crm_models.data.storage import load_cohort
from crm_models.planning.plans import Catalogue
from crm_models.planning.policy import Policy
from crm_models.runs.earlier import current_weights
from crm_models.runs.folder import RunFolder

if TYPE_CHECKING:
    from crm_models.models.churn import ChurnTransformer
    from crm_models.models.sequence import SequenceTransformer


def rows_of(cohort: Cohort, table: pd.DataFrame) -> Split:
    """The saved split as rows of this cohort, by id; customers that the run never saw are in no part."""
    at = pd.Index(cohort.customers[CUSTOMER_ID]).get_indexer(pd.Index(table[CUSTOMER_ID]))
    rows = {part: np.sort(at[(table["part"] == part).to_numpy() & (at >= 0)]) for part in ("train", "valid", "test")}
    return Split(**rows)


def plan_catalogue(run: RunFolder, policy: Policy) -> Catalogue:
    """The vocabulary of this run's plans under a policy. `DataError` where the run's popular actions are damaged."""
    encoder, popular = run.encoder(), run.about()["popular"]
    with read_whole(run.folder / "config.json", "the popular actions of a run", "train it again"):
        return Catalogue.of(encoder, popular, policy)


@dataclass(frozen=True, kw_only=True)
class Models:
    """The trained models of a run, ready to score; a model the run has not is None."""

    sequence: SequenceTransformer | None
    churn: ChurnTransformer | None
    encoder: FeatureEncoder
    config: RunConfig

    def score(self, cohort: Cohort, moment: Moment | None, now_days: float | None = None) -> CustomerScores:
        """Churn probability and best plan of every customer of the cohort, seen at `moment`."""
        return self.score_encoded(self.encoder.encode(cohort, moment, now_days))

    def score_encoded(self, arrays: CohortArrays) -> CustomerScores:
        """The same of customers that `encoder` has encoded."""
        from crm_models.inference.decoding import score_customers

        return score_customers(self.sequence, self.churn, arrays, self.encoder)


def load_models(run: RunFolder, *, device: str | None = None, threads: int | None = None) -> Models:
    """The models of a run with their best weights, in evaluation mode. `RunError` where the run has none yet."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from crm_models.models.churn import ChurnTransformer
    from crm_models.models.runtime import prepare_torch
    from crm_models.models.sequence import SequenceTransformer
    from crm_models.training.loop import resolve_device

    file, config, encoder = run.need_weights(), run.config(), run.encoder()
    prepare_torch(threads)
    place = resolve_device(device or config.device)
    try:
        tensors = current_weights(load_file(file))
    except SafetensorError as error:
        raise RunError(f"{file}: expected the run's weights, found a damaged file ({error}); train it again") from None

    def loaded(name: ModelName, made_of: Any, settings: Any) -> Any:
        own = {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
        if not own:  # and none is made: without actions there is no sequence model to initialise
            return None
        module = made_of(settings, encoder)
        try:
            module.load_state_dict(own)
        except RuntimeError:
            raise RunError(f"{file}: the weights do not fit config.json and encoder.json; train it again") from None
        return module.to(place).eval()

    return Models(
        sequence=loaded("sequence", SequenceTransformer, config.sequence),
        churn=loaded("churn", ChurnTransformer, config.churn),
        encoder=encoder,
        config=config,
    )


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A run's cohort cut as the run cut it: what evaluation and explanation work on."""

    cohort: Cohort
    arrays: CohortArrays
    split: Split
    outcomes: Outcomes


def held_out(run: RunFolder, encoder: FeatureEncoder, cohort: Path | None = None) -> HeldOut:
    """The run's cohort (or the same customers at another place) with the run's own split and the test outcomes."""
    about = run.about()
    whole = load_cohort(cohort or Path(about["cohort"]))
    split = rows_of(whole, run.split())
    if not len(split.test):
        raise RunError(
            f"{run.folder}: none of the run's test customers is in the cohort; evaluate on the run's own cohort"
        )
    found = outcomes(whole)
    chosen = found.take(np.isin(found.rows, split.test))
    return HeldOut(cohort=whole, arrays=encoder.encode(whole, whole.as_of), split=split, outcomes=chosen)


def predict_held_out(models: Models, held: HeldOut) -> tuple[SequencePredictions | None, ChurnPredictions | None]:
    """What the models say about the run's test customers, for evaluation; None where there is no model or no case."""
    from crm_models.inference.decoding import churn_probabilities, sequence_predictions

    sequence, churn, labels = None, None, held.cohort.labels
    if models.sequence is not None and len(held.outcomes.rows):
        sequence = sequence_predictions(models.sequence, held.arrays, held.outcomes)
    test = held.split.test[~np.isnan(labels[held.split.test])]
    if models.churn is not None and len(test):
        p = churn_probabilities(models.churn, held.arrays, test)
        churn = ChurnPredictions(customer_id=held.arrays.customer_id[test], churned=labels[test], churn_p=p)
    return sequence, churn
