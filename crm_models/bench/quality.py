"""Quality benchmarks on fixed splits, so that other tools can be measured on the same rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from crm_models.baselines.churn import churn_baselines
from crm_models.baselines.sequence import sequence_baselines
from crm_models.core.config import RunConfig
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.presets import preset
from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.core.schema import N_STEPS, ModelName
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.split import Outcomes, Split
from crm_models.evaluation.scores import TOP, calibration_error, churn_scores, sequence_scores

if TYPE_CHECKING:
    from crm_models.training.objectives import TrainingData

Protocol = Literal["holdout", "leave-one-out"]
PROTOCOLS: dict[Protocol, str] = {
    "holdout": "trained on all but the last {holdout} of each customer's events; all {n_actions} actions ranked",
    "leave-one-out": "trained without each customer's last two events, the best epoch chosen on the second-last, the "
    "last one predicted from a history that holds the second-last; all {n_actions} actions ranked",
}
"""Protocols of the sequence benchmark, as its result says them."""

FEWEST_LABELS = 20
"""Least number of labels; fewer leave too few customers for validation."""


def configured(model: ModelName, seed: int, settings: Sequence[str]) -> RunConfig:
    """`standard` for one model on one thread of the processor, with settings such as `churn.d_model=32`."""
    config = replace(preset("standard"), models=(model,), seed=seed, device="cpu", threads=1)
    for setting in settings:
        config = config.with_setting(setting)
    return config


def sequence(
    cohort: Cohort,
    config: RunConfig,
    holdout: int = 1,
    early_stopping: bool = True,
    protocol: Protocol = "holdout",
) -> dict[str, Any]:
    """Scores of the next actions, with the last `holdout` events of every customer held out and the rest for training.

    Customers with at most `holdout + 1` events are left out (`DataError` if none is left). Training never sees the held
    out events. early_stopping: of a share of `valid_share` of the customers the event before the held-out ones is not
    trained on, and says when to stop; otherwise training takes all configured epochs. protocol: with `leave-one-out`
    that event is not trained on for anybody, and that of all customers says which epoch is best, as in published
    comparisons (Kang and McAuley, "Self-Attentive Sequential Recommendation", 2018); baselines do not count it either.
    """
    if protocol == "leave-one-out" and holdout != 1:
        raise ConfigError(f"the protocol leave-one-out holds out one event, found a holdout of {holdout}")
    starts = cohort.starts
    total = np.diff(starts)
    rows = np.flatnonzero(total > holdout + 1)
    if not len(rows):
        raise DataError(f"benchmark sequence needs customers with more than {holdout + 1} events, found none")
    n_past = total - holdout
    held_out = Outcomes(
        rows=rows, n_history=n_past[rows], n_outcome=np.full(len(rows), min(holdout, N_STEPS), np.int64)
    )
    from crm_models.inference.decoding import sequence_predictions
    from crm_models.training.objectives import TrainingData

    drawn = np.random.default_rng(config.seed).random(len(rows)) < config.valid_share
    valid = rows[drawn & (n_past[rows] > 1)] if early_stopping else rows[:0]
    valid = rows if protocol == "leave-one-out" else valid
    n_learned = n_past.copy()
    n_learned[valid] -= 1
    past = _first_events(cohort, n_past, rows)
    learned = _first_events(cohort, n_learned, rows)
    encoder = FeatureEncoder.fit(learned, rows, None)
    fit_arrays, arrays = encoder.encode(past), encoder.encode(cohort)
    split = Split(train=rows, valid=valid, test=rows)
    if not len(valid):
        training = replace(config.sequence_training, monitor="last")
        config = replace(config, sequence_training=training)
    config = replace(config, models=("sequence",))
    training_data = TrainingData(
        arrays=fit_arrays,
        labels=np.full(len(fit_arrays), np.nan),
        split=split,
        outcomes=Outcomes(rows=valid, n_history=n_learned[valid], n_outcome=np.ones(len(valid), np.int64)),
        n_events=np.minimum(n_learned, np.diff(fit_arrays.events.starts)),
    )
    module, epochs, fit_s = _fitted("sequence", config, encoder, training_data)

    began = time.perf_counter()
    predictions = sequence_predictions(module, arrays, held_out, decode=holdout > 1)
    predict_s = time.perf_counter() - began
    counted = encoder.encode(learned) if protocol == "leave-one-out" else fit_arrays
    baselines = sequence_baselines(counted, split.train, arrays, held_out, encoder)
    return {
        "protocol": PROTOCOLS[protocol].format(holdout=holdout, n_actions=encoder.n_actions),
        **sequence_scores(_only_held_out(predictions, holdout), encoder.n_actions),
        **_of_rare_actions(predictions, encoder),
        "fit_s": round(fit_s, 2),
        "predict_s": round(predict_s, 2),
        **_rates("sequence", config, encoder, training_data, epochs, fit_s),
        "epochs": epochs,
        "baselines": {
            name: sequence_scores(_only_held_out(p, holdout), encoder.n_actions) for name, p in baselines.items()
        },
    }


def _of_rare_actions(predictions: SequencePredictions, encoder: FeatureEncoder) -> dict[str, float]:
    """Loss of the first held-out action and its hits among ten, where it is of the half that training saw least."""
    counts = np.array(encoder.action_counts)
    is_rare = counts[predictions.actual[:, 0] - 1] <= np.median(counts)
    if not is_rare.any():
        return {}
    loss, hits = -predictions.actual_log_p[is_rare, 0].mean(), (predictions.rank[is_rare] < TOP).mean()
    return {"rare_loss": round(float(loss), 6), "rare_hr_at_10": round(float(hits), 6)}


def _first_events(cohort: Cohort, count: np.ndarray, rows: np.ndarray) -> Cohort:
    """The cohort with the first count[i] events of each customer i in `rows`, and none of the others."""
    total = np.diff(cohort.starts)
    place = np.arange(len(cohort.interactions)) - np.repeat(cohort.starts[:-1], total)
    keep = (place < np.repeat(count, total)) & np.isin(cohort.event_customers, rows)
    return replace(cohort, interactions=cohort.interactions[keep].reset_index(drop=True))


def churn(
    cohort: Cohort, config: RunConfig, folds: int = 5, seed: int = 0, n_labels: int | None = None
) -> dict[str, Any]:
    """Stratified cross-validation over labelled customers in file order; means and standard deviations over folds.

    The share `valid_share` of each fold's training customers is for early stopping and calibration; test customers are
    never used. n_labels: number of training customers that keep their label; None: all. `DataError` for fewer than
    `folds` churned or staying customers.
    """
    known = np.flatnonzero(~np.isnan(cohort.labels))
    labels = cohort.labels[known]
    if min(labels.sum(), (1 - labels).sum()) < folds:
        raise DataError(f"benchmark churn needs at least {folds} churned and {folds} staying customers")

    from crm_models.inference.decoding import churn_probabilities
    from crm_models.training.objectives import TrainingData

    fold_scores: list[dict[str, Any]] = []
    all_p, total_epochs, total_s = np.full(len(known), np.nan), 0, 0.0
    baselines: dict[str, list[dict[str, Any]]] = {}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(known, labels):
        fit, valid = _for_validation(train, labels, config.valid_share, seed)
        kept_labels = cohort.labels.copy()
        kept_labels[known[_hidden(train, labels, n_labels, seed)]] = np.nan
        split = Split(train=np.sort(known[fit]), valid=np.sort(known[valid]), test=known[test])
        encoder = FeatureEncoder.fit(cohort, split.train, cohort.as_of, config.churn.n_bins)
        arrays = encoder.encode(cohort, cohort.as_of)
        no_outcomes = Outcomes(rows=known[:0], n_history=known[:0], n_outcome=known[:0])
        training_data = TrainingData(
            arrays=arrays,
            labels=kept_labels,
            split=split,
            outcomes=no_outcomes,
        )
        module, epochs, fit_s = _fitted("churn", config, encoder, training_data)
        total_epochs, total_s = total_epochs + epochs, total_s + fit_s
        began = time.perf_counter()
        p = churn_probabilities(module, arrays, split.test)
        predict_s = time.perf_counter() - began
        predictions = ChurnPredictions(customer_id=arrays.customer_id[split.test], churned=labels[test], churn_p=p)
        fold_scores.append(churn_scores(predictions) | {"fit_s": fit_s, "predict_s": predict_s})
        all_p[test] = p
        for name, baseline in churn_baselines(arrays, kept_labels, split, encoder).items():
            baselines.setdefault(name, []).append(churn_scores(baseline))
    baseline_means = {name: _mean_and_sd(rows) for name, rows in baselines.items()}
    # Pooled, because with ten bins a fold of a thousand customers has an error of 0.02 by chance alone.
    ece = {"ece_pooled": round(calibration_error(labels, all_p), 6)}
    rates = _rates("churn", config, encoder, training_data, total_epochs, total_s)
    return _mean_and_sd(fold_scores) | ece | rates | {"folds": folds, "baselines": baseline_means}


def _for_validation(train: np.ndarray, labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A fold's training customers in two: to train on and for validation, stratified; `paper` validates on nobody."""
    if not share:
        return train, train[:0]
    try:
        fit, valid = train_test_split(train, test_size=share, stratify=labels[train], random_state=seed)
    except ValueError:
        raise DataError(
            f"benchmark churn needs customers of both classes to train on and to validate on, found {len(train)} "
            f"labelled customers in a fold, {int(labels[train].sum())} of them churned; use more customers"
        ) from None
    return fit, valid


def _hidden(train: np.ndarray, labels: np.ndarray, n_labels: int | None, seed: int) -> np.ndarray:
    """The part of `train` whose labels are hidden; `n_labels`, stratified by class, keep theirs."""
    if n_labels is None:
        return train[:0]
    if not FEWEST_LABELS <= n_labels < len(train):
        raise DataError(
            f"expected from {FEWEST_LABELS} to {len(train) - 1} labels (a fold trains on {len(train)} customers), "
            f"found {n_labels}"
        )
    # Another seed than for the validation split: with the same one, all labels would end up on one side of it.
    return train_test_split(train, train_size=n_labels, stratify=labels[train], random_state=seed + 1)[1]


def _fitted(
    model: ModelName, config: RunConfig, encoder: FeatureEncoder, training_data: TrainingData
) -> tuple[Any, int, float]:
    """The trained module, the number of epochs, and the seconds they took."""
    from crm_models.models.runtime import prepare_torch
    from crm_models.training.loop import train
    from crm_models.training.state import TrainingState

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
    """Training speed over `epochs` epochs; one more epoch is run to count the operations.

    sequences_per_second: training customers per second, counted once per epoch. matrix_share: FLOP/s of the matrix
    products in training as a share of those of one large matrix product on the same device.
    """
    from crm_models.bench.rates import gigaflops_of, matrix_product_gflops
    from crm_models.models.runtime import resolve_device
    from crm_models.training.loop import train
    from crm_models.training.state import TrainingState

    state = TrainingState.start(model, config.with_epochs(1), encoder)
    gigaflops = epochs * gigaflops_of(lambda: next(train(state, training_data), None))
    return {
        "sequences_per_second": round(epochs * len(training_data.split.train) / seconds),
        "matrix_share": round(gigaflops / seconds / matrix_product_gflops(3, resolve_device(config.device).type), 4),
    }


def over_seeds(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Scores over several seeds: their means, standard deviations as `<name>_sd`, and the scores of each in `by_seed`.

    `<name>_sd` is then over seeds instead of folds: it shows the effect of initial weights, order of customers and
    (churn) folds.
    """
    results = list(runs.values())
    baselines = {name: _mean_and_sd([run["baselines"][name] for run in results]) for name in results[0]["baselines"]}
    by_seed = {str(seed): {k: v for k, v in run.items() if _is_number(v)} for seed, run in runs.items()}
    shared = {name: results[0][name] for name in ("protocol", "customers") if name in results[0]}
    return _mean_and_sd(results) | shared | {"baselines": baselines, "by_seed": by_seed}


def _only_held_out(predictions: SequencePredictions, holdout: int) -> SequencePredictions:
    """Predictions without the true steps beyond the held-out ones; a holdout of one scores the first step only."""
    if holdout >= N_STEPS:
        return predictions
    return replace(predictions, actual=np.where(np.arange(N_STEPS) < holdout, predictions.actual, 0))


def _mean_and_sd(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (`<name>_sd`) of every number over the rows; `customers` is their sum.

    Standard deviations in the rows are left out.
    """
    out: dict[str, Any] = {"customers": sum(row["customers"] for row in rows)}
    for name in (name for name in rows[0] if not name.endswith("_sd")):
        values = [row[name] for row in rows]
        if name != "customers" and all(_is_number(v) for v in values):
            out[name], out[f"{name}_sd"] = round(float(np.mean(values)), 6), round(float(np.std(values)), 6)
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
