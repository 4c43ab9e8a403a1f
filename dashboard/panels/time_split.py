"""Runs with a split by time: the choice in the form, and how much such a run loses against the random split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from crm_models.core.config import RunConfig, SplitKind
from crm_models.core.errors import CrmError
from crm_models.core.schema import ModelName
from crm_models.evaluation.compare import compare_churn, compare_sequences
from dashboard.panels import widgets
from dashboard.state import predictions, store

KINDS: dict[SplitKind, str] = {"random": "Other customers", "time": "Other customers, later"}
KIND, DATE = "train_split", "train_split_date"
SCORES: tuple[tuple[ModelName, str, str], ...] = (
    ("churn", "auc", "Churn AUC"),
    ("sequence", "step_accuracy", "Correct next actions"),
)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The split in the form. date: "" for the default of the cohort."""

    kind: SplitKind = "random"
    date: str = ""

    @property
    def arguments(self) -> list[str]:
        """The same as options of `train`."""
        if self.kind == "random":
            return []
        return ["--split", "time", *(["--split-date", self.date] if self.date else [])]


def chosen() -> Chosen:
    """The split in the form, also before it is drawn."""
    kind: SplitKind = st.session_state.get(KIND) or "random"
    return Chosen(kind=kind, date=(st.session_state.get(DATE) or "").strip() if kind == "time" else "")


def cannot_train(cohort: str, seed: int) -> tuple[dict[ModelName, str], CrmError | None]:
    """Why a cohort cannot train a model with the split in the form, and what is wrong with the split itself."""
    split = chosen()
    try:
        return store.cannot_train(cohort, seed, split.kind, split.date), None
    except CrmError as trouble:
        if split.kind == "random":
            raise
        return store.cannot_train(cohort, seed), trouble  # the form stays, so that the split can be changed


def choose() -> Chosen:
    """Draw the choice of the split."""
    st.selectbox(
        "Tested on",
        list(KINDS),
        format_func=KINDS.__getitem__,
        key=KIND,
        persist_state="session",
        help="**Other customers** are held out at random. **Later** also in time: the models learn only what was known "
        "by a date, and are tested on what came from that date on, as in real use.",
        width=220,
    )
    if chosen().kind == "time":
        st.text_input(
            "Date of the split",
            key=DATE,
            persist_state="session",
            placeholder="automatic",
            help="A date such as 2026-01-31. Automatic: the cut-off of the cohort, or else where the last 20% of its "
            "events begin.",
            width=180,
        )
    return chosen()


def about(run: store.RunCard) -> None:
    """Draw what a split by time means for the scores, and what the same run loses against the random split."""
    config = run.config
    if config.split != "time":
        return
    st.info(
        f"Out of time: the models learned what was known by **{config.split_date[:19]}** and are tested on other "
        "customers from then on. Columns of customers are as in the cohort, not as of that date.",
        icon=":material/history:",
    )
    with widgets.guarded("The random split cannot be compared:"):
        twin = next((other for other in store.run_cards(run.cohort) if is_random_twin(other, config)), None)
        if twin is None:
            st.caption(
                "To see how much is lost against the random split, train with the same settings and seed on **Other "
                "customers**."
            )
        else:
            for sentence in lost(run, twin):
                st.markdown(f"- {sentence}")


def is_random_twin(other: store.RunCard, config: RunConfig) -> bool:
    """Whether a run has the settings of a run by time, but for the split; a model may be left out of one of them."""
    theirs = other.config
    settings = replace(config, split="random", split_date="", device=theirs.device, threads=theirs.threads)
    return other.usable and theirs == replace(settings, models=theirs.models)


def lost(run: store.RunCard, twin: store.RunCard) -> list[str]:
    """Sentences on what a run by time loses against the same run with the random split, on the same customers."""
    sentences = []
    name = widgets.plain(twin.run_id, 48)
    ours, theirs = predictions.tested(run), predictions.tested(twin)
    for model, score, words in SCORES:
        first, second = getattr(ours, model), getattr(theirs, model)
        if first is None or second is None:
            continue
        differences = compare_churn(first, second) if model == "churn" else compare_sequences(first, second)
        gap = next((d for d in differences if d.score == score), None)
        if gap is None:
            sentences.append(f"{words}: not tested on the same outcomes as {name}.")
            continue
        sure = "" if gap.is_clear else ", which may be chance"
        sentences.append(
            f"{words}: **{gap.gap.value:+.3f}** against the random split ({name}; 95%: {gap.gap.low:+.3f} to "
            f"{gap.gap.high:+.3f}){sure}, on {gap.n_customers:,} customers."
        )
    return sentences
