"""Sections of the attention page: the attention map, and the effect of removing each input beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import CUSTOMER_ID, ModelName
from crm_models.data.cohort import Cohort
from crm_models.data.events import history_counts
from crm_models.data.split import planning_moment
from dashboard.charts import decision as decision_charts
from dashboard.charts import digits
from dashboard.panels import customer_list, widgets
from dashboard.panels import customers as customer_panels
from dashboard.state import predictions, session, store

if TYPE_CHECKING:
    from crm_models.inference.effects import AttentionMap, Explanation

MODEL = "attention_model"
WHO = "attention_who"
LAYER = "attention_layer"
HEAD = "attention_head"

SAMPLE = 300
"""Held-out customers in an average; more would not change any digit shown."""
TOKENS = 40
"""Maximum rows and columns of a readable map."""
NARROW = 14
"""Maximum tokens of a map that fits beside the effects."""
SUMMARY = "summary"
"""Name of the token that the churn model reads its prediction from."""
MEAN = "all, averaged"
CUSTOMERS = {"average": "Average over many", "one": "One customer"}


def controls(run: store.RunCard) -> tuple[ModelName, int | None]:
    """Draw the choice of model and customer; return the model and the row of the customer, None for the average."""
    trained = run.folder.trained()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.radio(
            "Prediction",
            list(trained),
            format_func=customer_list.PREDICTIONS.__getitem__,
            horizontal=True,
            key=MODEL,
            bind="query-params",
            persist_state="session",
        )
        customers = st.radio(
            "Customers",
            list(CUSTOMERS),
            format_func=CUSTOMERS.__getitem__,
            index=list(CUSTOMERS).index("one" if session.CUSTOMER in st.query_params else "average"),
            horizontal=True,
            key=WHO,
            persist_state="session",
        )
    if customers == "average":
        return model, None
    all_scores = store.scores(run)
    assert all_scores is not None  # checked by the page
    row = customer_panels.choose(run, all_scores)
    if row is None:
        st.stop()
    return model, row


def explained(run: store.RunCard, model: ModelName, row: int | None) -> Explanation | None:
    """Return the explanation, with a spinner; None if there is nothing to explain or after an error."""
    result = None
    with (
        widgets.guarded("This prediction cannot be explained:"),
        st.spinner("Removing one input at a time and predicting again", show_time=True),
    ):
        result = explanation(run, model, row)
    return result  # noqa: RET504  # None if `guarded` showed an error


def explanation(run: store.RunCard, model: ModelName, row: int | None) -> Explanation | None:
    """Attention and effects for one customer (row of the cohort), or averaged over a sample of held-out customers."""
    return _explanation(str(run.folder.folder), predictions.version(run), model, row, run)


@st.cache_resource(max_entries=64, show_spinner=False)
def _explanation(run: str, mark: str, model: ModelName, row: int | None, _card: store.RunCard) -> Explanation | None:
    from crm_models.inference import explanation as explain

    models = predictions.models(_card)
    part = predictions.part_of(_card.cohort, row or 0)
    if part is None:
        return None
    cohort, first = part
    moment = planning_moment(cohort)
    rows = _sample(_card, cohort) if row is None else np.array([row - first])
    if model == "sequence":
        rows = rows[history_counts(cohort, moment)[rows] > 0]
    if not len(rows):
        return None
    if model == "sequence":
        assert models.sequence is not None  # only trained models are offered
        if row is None:
            return explain.average_sequence(models.sequence, models.encoder, cohort, rows, moment)
        return explain.explain_sequence(models.sequence, models.encoder, cohort, int(rows[0]), moment)
    assert models.churn is not None  # only trained models are offered
    if row is None:
        return explain.average_churn(models.churn, models.encoder, cohort, rows, moment)
    return explain.explain_churn(models.churn, models.encoder, cohort, int(rows[0]), moment)


def _sample(card: store.RunCard, cohort: Cohort) -> np.ndarray:
    """Rows of at most 300 held-out customers of this part of the cohort; the same ones each time."""
    split = card.folder.split()
    test = set(split.loc[split["part"] == "test", CUSTOMER_ID])
    rows = np.flatnonzero(cohort.customers[CUSTOMER_ID].isin(test).to_numpy())
    return np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])


# ---- drawing ---------------------------------------------------------------------------------------------------------


def to_reasons(run: store.RunCard, model: ModelName, row: int | None) -> None:
    """Draw the link to the drivers of the same prediction, on the customers page."""
    all_scores = store.scores(run)
    if row is None or all_scores is None:
        return
    tab = "Why these steps" if model == "sequence" else "Why this risk"
    with st.container(horizontal=True):
        st.page_link(
            widgets.PAGES["customers"],
            label=f"{tab}: what raises and lowers the probability, in points",
            icon=":material/balance:",
            query_params=customer_list.link_to(str(all_scores.customer_id[row])) | {"customer_tab": tab},
        )


@st.fragment
@widgets.guarded("This map cannot be drawn:")
def show(explanation: Explanation, has_additive: bool) -> None:
    """Draw the attention map by layer and head, the effects beside it, and whether the two agree."""
    attention, effects = explanation.attention, explanation.effects
    with st.container(border=True):
        icon = ":material/check_circle:" if (effects.agreement or 0) >= 0.5 else ":material/warning:"
        icon = ":material/info:" if effects.agreement is None else icon
        st.markdown(f"{icon} {widgets.plain(effects.note())}")
        scope = "For this customer" if attention.n_customers == 1 else f"Over {attention.n_customers:,} customers"
        mean = "" if attention.n_customers == 1 else " on average"
        if (text := _profile_first(attention)) is not None:
            st.markdown(f":material/info: {text}")
        voter = " The additive model, which votes beside the Transformer, has no attention." if has_additive else ""
        outcome = f"{widgets.plain(effects.outcome)}, probability {digits.share(effects.probability)}{mean}"
        st.caption(f"{scope}: {outcome}.{voter}")
    weights = _of_layer_and_head(attention.weights)
    wide = len(attention.tokens) > NARROW
    with st.grid(1 if wide else 2, min_column_width="auto" if wide else 380):
        _map(attention, weights)
        _effects(explanation)


def _profile_first(attention: AttentionMap) -> str | None:
    """A sentence if most attention goes to the profile, which is no event and so has no bar beside the events'."""
    from crm_models.inference.explanation import PROFILE

    read = attention.read_weights()
    if PROFILE not in attention.tokens or int(read.argmax()) != attention.tokens.index(PROFILE):
        return None
    return f"The customer profile gets the most attention of all inputs: {digits.share(float(read.max()))}."


def _of_layer_and_head(weights: np.ndarray) -> np.ndarray:
    """(T, T) attention weights of the selected layer and head, or their mean."""
    with st.container(horizontal=True):
        for key, label, n, meaning in (
            (LAYER, "Layer", weights.shape[0], "Blocks of the model, first to last."),
            (HEAD, "Head", weights.shape[1], "Each block computes attention several times in parallel, once per head."),
        ):
            options = [MEAN, *(f"{label.lower()} {k + 1}" for k in range(n))]
            picked = st.selectbox(label, options, key=key, width=150, help=meaning)
            index = options.index(picked) - 1
            weights = weights.mean(axis=0) if index < 0 else weights[index]
    return weights


def _map(attention: AttentionMap, weights: np.ndarray) -> None:
    keep = kept_tokens(attention)
    tokens = [SUMMARY if attention.tokens[k] == "[CLS]" else attention.tokens[k] for k in keep]
    shown = weights[np.ix_(keep, keep)]
    reader = widgets.plain(tokens[keep.tolist().index(attention.reader)], 60)
    widgets.chart(
        decision_charts.attention_map(shown, tokens, "Attention map", keep.tolist().index(attention.reader)),
        key="attention_map",
        alt="Attention map: each row looks at the columns",
        table=pd.DataFrame(shown.round(4), columns=_unique(tokens)).assign(looking=tokens),
        note="Each row is one input of the model; its colours show how it distributes its attention over the other "
        f"inputs. The prediction is read from the framed row, **{reader}**. "
        + (
            "The sequence model only looks back, so the upper right is empty. "
            if attention.model == "sequence"
            else "The churn model looks at all inputs at once; the summary ([CLS] in BERT) is no feature but collects "
            "the information. "
        )
        + ("There is only one layer, so only this row reaches the prediction. " if _is_shallow(attention) else "")
        + "Attention shows where the model looks, not what decides the prediction: see the effects beside it.",
    )
    hidden = len(attention.tokens) - len(keep)
    if hidden and len(keep) == TOKENS:
        st.caption(f"{hidden} of {len(attention.tokens)} rows and columns are hidden to keep the map readable.")


def _is_shallow(attention: AttentionMap) -> bool:
    return attention.model == "churn" and len(attention.weights) == 1


def kept_tokens(attention: AttentionMap, limit: int = TOKENS) -> np.ndarray:
    """Indices of at most `limit` tokens, in order: the profile, the reader, then those with the most attention."""
    total = attention.weights.sum(axis=(0, 1))
    used = (total.sum(axis=0) > 0) | (total.sum(axis=1) > 0)  # false for past events if no customer has any
    always = {0, attention.reader}
    rest = [k for k in np.argsort(-attention.read_weights(), kind="stable").tolist() if k not in always and used[k]]
    return np.array(sorted([*always, *rest[: limit - len(always)]]))


def _unique(names: list[str]) -> list[str]:
    """Number repeated names, because column names of a table must differ."""
    return [name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, 1)]


def _effects(explanation: Explanation) -> None:
    effects, is_one = explanation.effects, explanation.attention.n_customers == 1
    table = effects.table().sort_values("effect_rank", kind="stable")
    x = "change, points" if is_one else "mean change, points"
    widgets.chart(
        decision_charts.effects(table, "Effect on the prediction", x),
        key="effects",
        alt="Effect of removing each event or feature, beside its attention",
        table=table,
        note="Each event is removed from the history, or each feature set to unknown, one at a time, and the model "
        "predicts again. The bar shows how far the probability falls without it"
        + (
            ": to the right, it supports the prediction; to the left, it counts against it. "
            if is_one
            else " or rises, on average. "
        )
        + "The blue bars show the attention to the same input. Where one bar is long and the other short, attention is "
        "misleading.",
    )
    if len(table) > 20:
        st.caption(f"The 20 strongest of {len(table)}. All of them are under Numbers.")
