"""Measurements on fixed splits, made to be repeated beside other tools on the very same rows."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from crm_models.baselines.churn import churn_baselines
from crm_models.baselines.sequence import sequence_baselines
from crm_models.core.config import RunConfig
from crm_models.core.errors import DataError
from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.core.schema import N_STEPS, ModelName
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.split import Outcomes, Split
from crm_models.evaluation.scores import calibration_error, churn_scores, sequence_scores
from crm_models.training.pretraining import pretraining_of

if TYPE_CHECKING:
    from crm_models.training.objectives import TrainingData

FEWEST_LABELS = 20
"""Labels of fewer customers leave nothing to validate with."""


def sequence(cohort: Cohort, config: RunConfig, holdout: int = 1) -> dict[str, Any]:
    """Hold out every customer's last `holdout` events, train on all the rest, rank all actions for the next event.

    Customers with `holdout + 1` events or fewer are left out. Nothing is chosen by looking at what is held out:
    training runs for the epochs configured, and the weights of the last one count.
    """
    starts = cohort.starts
    total = np.diff(starts)
    rows = np.flatnonzero(total > holdout + 1)
    if not len(rows):
        raise DataError(f"benchmark sequence needs customers with more than {holdout + 1} events, found none")
    found = Outcomes(
        rows=rows, n_history=total[rows] - holdout, n_outcome=np.full(len(rows), min(holdout, N_STEPS), np.int64)
    )
    from crm_models.inference.decoding import sequence_predictions
    from crm_models.training.objectives import TrainingData

    keep = np.arange(len(cohort.interactions)) < np.repeat(starts[1:] - holdout, total)
    keep &= np.isin(cohort.event_customers, rows)
    past = replace(cohort, interactions=cohort.interactions[keep].reset_index(drop=True))
    encoder = FeatureEncoder.fit(past, rows, None)
    fit_arrays, arrays = encoder.encode(past), encoder.encode(cohort)
    split = Split(train=rows, valid=rows[:0], test=rows)
    training = replace(config.sequence_training, monitor="last", patience_epochs=config.sequence_training.n_epochs)
    config = replace(config, models=("sequence",), sequence_training=training)
    training_data = TrainingData(
        arrays=fit_arrays, labels=np.full(len(fit_arrays), np.nan), split=split, outcomes=found
    )
    module, epochs, fit_s = _fitted("sequence", config, encoder, training_data)

    began = time.perf_counter()
    predictions = sequence_predictions(module, arrays, found)
    predict_s = time.perf_counter() - began
    others = sequence_baselines(fit_arrays, split.train, arrays, found, encoder)
    return {
        **sequence_scores(_seen(predictions, holdout), encoder.n_actions),
        "fit_s": round(fit_s, 2),
        "predict_s": round(predict_s, 2),
        **_rates("sequence", config, encoder, training_data, epochs, fit_s),
        "epochs": config.sequence_training.n_epochs,
        "baselines": {name: sequence_scores(_seen(p, holdout), encoder.n_actions) for name, p in others.items()},
    }


def churn(
    cohort: Cohort, config: RunConfig, folds: int = 5, seed: int = 0, n_labels: int | None = None
) -> dict[str, Any]:
    """Stratified cross-validation over labelled customers in file order; means and standard deviations over folds.

    Early stopping and calibration look at a seventh of each fold's training customers, never at its test customers.
    n_labels: so many training customers keep their label, the others' is hidden; None: all keep it.
    """
    known = np.flatnonzero(~np.isnan(cohort.labels))
    labels = cohort.labels[known]
    if min(labels.sum(), (1 - labels).sum()) < folds:
        raise DataError(f"benchmark churn needs at least {folds} churned and {folds} staying customers")

    from crm_models.inference.decoding import churn_probabilities
    from crm_models.training.objectives import TrainingData

    rows_of_scores: list[dict[str, Any]] = []
    found_p, spent_epochs, spent = np.full(len(known), np.nan), 0, 0.0
    baselines: dict[str, list[dict[str, Any]]] = {}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(known, labels):
        fit, valid = train_test_split(train, test_size=config.valid_share, stratify=labels[train], random_state=seed)
        seen = cohort.labels.copy()
        seen[known[_hidden(train, labels, n_labels, seed)]] = np.nan
        split = Split(train=np.sort(known[fit]), valid=np.sort(known[valid]), test=known[test])
        encoder = FeatureEncoder.fit(cohort, split.train, cohort.as_of, config.churn.n_bins)
        arrays = encoder.encode(cohort, cohort.as_of)
        nothing = Outcomes(rows=known[:0], n_history=known[:0], n_outcome=known[:0])
        training_data = TrainingData(
            arrays=arrays,
            labels=seen,
            split=split,
            outcomes=nothing,
            pretraining=pretraining_of(cohort, encoder) if config.pretrains else None,
        )
        module, epochs, fit_s = _fitted("churn", config, encoder, training_data)
        spent_epochs, spent = spent_epochs + epochs, spent + fit_s
        began = time.perf_counter()
        p = churn_probabilities(module, arrays, split.test)
        predict_s = time.perf_counter() - began
        own = ChurnPredictions(customer_id=arrays.customer_id[split.test], churned=labels[test], churn_p=p)
        rows_of_scores.append(churn_scores(own) | {"fit_s": fit_s, "predict_s": predict_s})
        found_p[test] = p
        for name, theirs in churn_baselines(arrays, seen, split, encoder).items():
            baselines.setdefault(name, []).append(churn_scores(theirs))
    beside = {name: _mean_and_sd(rows) for name, rows in baselines.items()}
    # With ten bins, a fold of a thousand customers shows an error of 0.02 by the luck of its draw alone.
    ece = {"ece_pooled": round(calibration_error(labels, found_p), 6)}
    rates = _rates("churn", config, encoder, training_data, spent_epochs, spent)
    return _mean_and_sd(rows_of_scores) | ece | rates | {"folds": folds, "baselines": beside}


def _hidden(train: np.ndarray, labels: np.ndarray, n_labels: int | None, seed: int) -> np.ndarray:
    """The places among `train` whose label is hidden, so that `n_labels` of them, drawn class by class, are left."""
    if n_labels is None:
        return train[:0]
    if not FEWEST_LABELS <= n_labels < len(train):
        raise DataError(
            f"expected from {FEWEST_LABELS} to {len(train) - 1} labels (a fold learns from {len(train)} customers), "
            f"found {n_labels}"
        )
    # Not the seed that parts training from validation: all labels would then be left on one side.
    return train_test_split(train, train_size=n_labels, stratify=labels[train], random_state=seed + 1)[1]


def _fitted(
    model: ModelName, config: RunConfig, encoder: FeatureEncoder, training_data: TrainingData
) -> tuple[Any, int, float]:
    """The trained module, its epochs, and the seconds they took."""
    from crm_models.models.runtime import prepare_torch
    from crm_models.training.loop import TrainingState, train

    prepare_torch(config.threads)
    began = time.perf_counter()
    state = TrainingState.start(model, config, encoder)
    epochs = sum(1 for _ in train(state, training_data))
    return state.module, epochs, time.perf_counter() - began


def _rates(
    model: ModelName,
    config: RunConfig,
    encoder: FeatureEncoder,
    training_data: TrainingData,
    epochs: int,
    seconds: float,
) -> dict[str, float]:
    """How fast so many epochs were, the work being counted in one more.

    sequences_per_second: customers learned from, every epoch anew. matrix_share: the matrix products of training, as a
    share of those that the machine does in the same time in one large product.
    """
    from crm_models.models.runtime import gigaflops_of, matrix_product_gflops
    from crm_models.training.loop import TrainingState, train

    state = TrainingState.start(model, config.with_epochs(1), encoder)
    work = epochs * gigaflops_of(lambda: next(train(state, training_data), None))
    return {
        "sequences_per_second": round(epochs * len(training_data.split.train) / seconds),
        "matrix_share": round(work / seconds / matrix_product_gflops(repeats=3), 4),
    }


def over_seeds(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Scores of several seeds as one: means over them, `<name>_sd` their spread, and in `by_seed` each seed's own.

    The spread over the folds of one seed gives way to the one over seeds: it tells what luck with the first weights,
    the order of customers and (churn) the folds is worth.
    """
    each = list(runs.values())
    beside = {name: _mean_and_sd([run["baselines"][name] for run in each]) for name in each[0]["baselines"]}
    by_seed = {str(seed): {k: v for k, v in run.items() if _is_number(v)} for seed, run in runs.items()}
    return _mean_and_sd(each) | {"customers": each[0]["customers"], "baselines": beside, "by_seed": by_seed}


def _seen(predictions: SequencePredictions, holdout: int) -> SequencePredictions:
    """Only the steps that were held out count: a plan has three, a holdout of one tells about the first."""
    if holdout >= N_STEPS:
        return predictions
    return replace(predictions, actual=np.where(np.arange(N_STEPS) < holdout, predictions.actual, 0))


def _mean_and_sd(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every plain number over folds, and beside it `<name>_sd`; customers are counted together.

    What the rows have of spreads themselves is left out.
    """
    out: dict[str, Any] = {"customers": sum(row["customers"] for row in rows)}
    for name in (name for name in rows[0] if not name.endswith("_sd")):
        values = [row[name] for row in rows]
        if name != "customers" and all(_is_number(v) for v in values):
            out[name], out[f"{name}_sd"] = round(float(np.mean(values)), 6), round(float(np.std(values)), 6)
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
