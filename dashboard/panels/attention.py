"""What the attention page shows: the map of who looks at whom, and beside it what really moves the prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import CUSTOMER_ID, ModelName
from crm_models.data.cohort import Cohort
from crm_models.data.split import planning_moment
from dashboard.charts import decision as decision_charts
from dashboard.panels import customers as customer_panels
from dashboard.panels import widgets
from dashboard.state import predictions, session, store

if TYPE_CHECKING:
    from crm_models.inference.explanation import AttentionMap, Explanation

MODEL = "attention_model"
WHO = "attention_who"
LAYER = "attention_layer"
HEAD = "attention_head"

SAMPLE = 300
"""Held-out customers that averages run over: more changes no digit that is shown."""
TOKENS = 40
"""Rows and columns of a map that stay readable."""
NARROW = 14
"""Tokens up to which the map fits beside the effects."""
MEAN = "all, averaged"
MODELS = {"sequence": "The next action", "churn": "Who leaves"}
WHOSE = {"average": "Many customers, averaged", "one": "One customer"}


def controls(run: store.RunCard) -> tuple[ModelName, int | None]:
    """Which model, and whose history; returns the model and the customer's row, None for the average."""
    trained = run.folder.trained()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.radio(
            "Prediction",
            list(trained),
            format_func=MODELS.__getitem__,
            horizontal=True,
            key=MODEL,
            persist_state="session",
        )
        whose = st.radio(
            "Whose",
            list(WHOSE),
            format_func=WHOSE.__getitem__,
            index=list(WHOSE).index("one" if session.CUSTOMER in st.query_params else "average"),
            horizontal=True,
            key=WHO,
            persist_state="session",
        )
    if whose == "average":
        return model, None
    everybody = store.scores(run)
    assert everybody is not None  # the page asked for them first
    row = customer_panels.choose(run, everybody)
    if row is None:
        st.stop()
    return model, row


def explained(run: store.RunCard, model: ModelName, row: int | None) -> Explanation | None:
    """The explanation, with a word on the wait; None where there is nothing to explain."""
    found = None
    with (
        widgets.guarded("This prediction cannot be explained:"),
        st.spinner("Taking away one thing after another, and asking the model each time", show_time=True),
    ):
        found = explanation(run, model, row)
    return found  # noqa: RET504  # None where `guarded` showed why


def explanation(run: store.RunCard, model: ModelName, row: int | None) -> Explanation | None:
    """Attention and effects for one customer (row of the cohort) or the average over a sample of the held-out ones."""
    folder = store.cohorts_folder() / run.cohort
    weights = run.folder.need_weights().stat().st_mtime_ns
    return _explanation(str(run.folder.folder), f"{store.stamp(folder)}|{weights}", model, row, run)


@st.cache_resource(max_entries=64, show_spinner=False)
def _explanation(run: str, mark: str, model: ModelName, row: int | None, _card: store.RunCard) -> Explanation | None:
    from crm_models.inference import explanation as explain

    own = predictions.models(_card)
    cohort, first = predictions.part_of(_card.cohort, row or 0)
    moment = planning_moment(cohort)
    rows = _sample(_card, cohort) if row is None else np.array([row - first])
    if model == "sequence":
        rows = rows[_lengths(cohort, moment)[rows] > 0]
    if not len(rows):
        return None
    if model == "sequence":
        assert own.sequence is not None  # only trained models are offered
        if row is None:
            return explain.average_sequence(own.sequence, own.encoder, cohort, rows, moment)
        return explain.explain_sequence(own.sequence, own.encoder, cohort, int(rows[0]), moment)
    assert own.churn is not None  # only trained models are offered
    if row is None:
        return explain.average_churn(own.churn, own.encoder, cohort, rows, moment)
    return explain.explain_churn(own.churn, own.encoder, cohort, int(rows[0]), moment)


def _sample(card: store.RunCard, cohort: Cohort) -> np.ndarray:
    """At most 300 held-out customers of this part of the cohort, the same ones each time."""
    split = card.folder.split()
    test = set(split.loc[split["part"] == "test", CUSTOMER_ID])
    rows = np.flatnonzero(cohort.customers[CUSTOMER_ID].isin(test).to_numpy())
    return np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])


def _lengths(cohort: Cohort, moment: Any) -> np.ndarray:
    from crm_models.data.events import history_counts

    return history_counts(cohort, moment)


# ---- drawing ---------------------------------------------------------------------------------------------------------


@st.fragment
def show(found: Explanation) -> None:
    """The map by layer and head, the effects beside it, and whether the two agree."""
    attention, effects = found.attention, found.effects
    with st.container(border=True):
        icon = ":material/check_circle:" if (effects.agreement or 0) >= 0.5 else ":material/warning:"
        icon = ":material/info:" if effects.agreement is None else icon
        st.markdown(f"{icon} {widgets.plain(effects.note())}")
        whose = "For this customer" if attention.n_customers == 1 else f"Over {attention.n_customers:,} customers"
        mean = "" if attention.n_customers == 1 else " on average"
        st.caption(f"{whose}: {widgets.plain(effects.outcome)}, probability {effects.probability:.1%}{mean}.")
    weights = _chosen(attention.weights)
    wide = len(attention.tokens) > NARROW
    with st.grid(1 if wide else 2, min_column_width="auto" if wide else 380):
        _map(attention, weights)
        _effects(found)


def _chosen(weights: np.ndarray) -> np.ndarray:
    """(T, T) the weights of the layer and head that the viewer wants, or their mean."""
    with st.container(horizontal=True):
        for key, label, n, meaning in (
            (LAYER, "Layer", weights.shape[0], "The blocks of the model, from the first to the last."),
            (HEAD, "Head", weights.shape[1], "Each block looks several times in parallel; each look is a head."),
        ):
            options = [MEAN, *(f"{label.lower()} {k + 1}" for k in range(n))]
            picked = st.selectbox(label, options, key=key, width=150, help=meaning)
            at = options.index(picked) - 1
            weights = weights.mean(axis=0) if at < 0 else weights[at]
    return weights


def _map(attention: AttentionMap, weights: np.ndarray) -> None:
    keep = kept_tokens(attention)
    tokens = [attention.tokens[k] for k in keep]
    shown = weights[np.ix_(keep, keep)]
    widgets.chart(
        decision_charts.attention_map(shown, tokens, "What is looked at", keep.tolist().index(attention.reader)),
        key="attention_map",
        alt="Attention: row looks at column",
        table=pd.DataFrame(shown.round(4), columns=_unique(tokens)).assign(looking=tokens),
        note="Each row is one thing that the model reads; its colours say how it spreads its attention over the "
        f"others. The prediction is read from the framed row, **{widgets.plain(attention.tokens[attention.reader], 60)}"
        "**. "
        + (
            "The sequence model looks back only, so that the upper right is empty. "
            if attention.model == "sequence"
            else "The churn model looks at everything at once; [CLS] stands for no feature, it gathers what matters. "
        )
        + ("There is one layer, so that only this row reaches the prediction. " if _is_shallow(attention) else "")
        + "Attention is where the model looks, not yet what decides: that is on the other side.",
    )
    left = len(attention.tokens) - len(keep)
    if left and len(keep) == TOKENS:
        st.caption(
            f"{left} of {len(attention.tokens)} rows and columns are not shown, so that the rest stays readable."
        )


def _is_shallow(attention: AttentionMap) -> bool:
    return attention.model == "churn" and len(attention.weights) == 1


def kept_tokens(attention: AttentionMap, limit: int = TOKENS) -> np.ndarray:
    """Places of at most `limit` tokens in their order: the reading one and the profile, then those most looked at."""
    seen = attention.weights.sum(axis=(0, 1))
    there = (seen.sum(axis=0) > 0) | (seen.sum(axis=1) > 0)  # past events of customers who have none are not
    first = {0, attention.reader}
    rest = [k for k in np.argsort(-attention.read_weights(), kind="stable").tolist() if k not in first and there[k]]
    return np.array(sorted([*first, *rest[: limit - len(first)]]))


def _unique(names: list[str]) -> list[str]:
    """Column names of a table must differ."""
    return [name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, 1)]


def _effects(found: Explanation) -> None:
    effects, one = found.effects, found.attention.n_customers == 1
    table = effects.table().sort_values("effect_rank", kind="stable")
    x = "change (points)" if one else "mean change (points)"
    widgets.chart(
        decision_charts.effects(table, "What really moves it", x),
        key="effects",
        alt="Effect of taking away each event or feature, beside its attention",
        table=table,
        note="Each event is taken out of the history, or each feature made unknown, one at a time, and the model is "
        "asked again. The bar says how far the probability falls without it"
        + (
            ": to the right, it speaks for the prediction; to the left, against it. "
            if one
            else " or rises, on average. "
        )
        + "The blue bars beside say how much attention the same thing gets. Where one is long and the other short, "
        "attention misleads.",
    )
    if len(table) > 20:
        st.caption(f"The 20 strongest of {len(table)}; all are under Numbers.")
