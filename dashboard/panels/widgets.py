"""Pieces that several pages repeat: text shown as it is, charts with their table, empty states, errors, notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from crm_models.core.errors import CrmError
from dashboard.charts import theme
from dashboard.state import session, store

PAGES = {
    "home": "app_pages/home.py",
    "cohort": "app_pages/cohort.py",
    "train": "app_pages/train.py",
    "evaluate": "app_pages/evaluate.py",
    "attention": "app_pages/attention.py",
    "customers": "app_pages/customers.py",
    "plans": "app_pages/plans.py",
    "paper": "app_pages/paper.py",
}
"""Name of a page to its file; the name is its address as well (home: /)."""


CHART_WIDTH = 330
"""Pixels below which charts in a grid stand below each other instead of side by side."""


# ---- text ------------------------------------------------------------------------------------------------------------


def plain(text: object, limit: int | None = None) -> str:
    """Text from data for places that read Markdown (labels, captions, metrics): shown as it is, on one line."""
    flat = " ".join(str(text).split())
    if limit is not None and len(flat) > limit:
        flat = flat[: limit - 1].rstrip() + "…"
    # A joiner of no width breaks what a backslash cannot: addresses that become links, arrows that become glyphs, and
    # the colon that opens Streamlit's own marks (":red[", ":material/", ":smile:").
    broken = re.sub(r"(?i)www(?=\.)|@|-(?=>)|<(?=-)|:", "\\g<0>\u2060", flat)
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~<>$&=^\"'@/])", r"\\\1", broken)


def title(heading: str, question: str) -> None:
    """The heading of a page, and the question it answers."""
    st.title(heading)
    st.caption(question)


def how_to_read(text: str) -> None:
    """The folded explanation under a figure, in plain words (Markdown of our own, never text from data)."""
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(text)


def share(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage; a dash where it is unknown."""
    return "–" if value is None or value != value else f"{value:.{digits}%}"


def duration(seconds: float) -> str:
    """A duration in words: "40 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def ago(moment: datetime) -> str:
    """How long ago a moment was, in words."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {unit}{'s' if n > 1 else ''} ago"
    return "just now"


# ---- figures ---------------------------------------------------------------------------------------------------------


def chart(fig: go.Figure, *, key: str, alt: str, table: pd.DataFrame | None = None, note: str | None = None) -> None:
    """A figure with its table at hand and, folded beside it, how to read it. alt: what it shows, for screen readers."""
    with st.container(gap="xxsmall"):
        st.plotly_chart(fig, key=key, alt=alt, config=theme.CONFIG, width="stretch")
        if table is None and note is None:
            return
        with st.container(horizontal=True, gap="small"):
            if note is not None:
                with st.popover("How to read this", icon=":material/help:", type="tertiary"):
                    st.markdown(note)
            if table is not None:
                numbers = st.popover(
                    "Numbers", icon=":material/table:", type="tertiary", on_change="rerun", key=f"{key}_numbers"
                )
                if numbers.open:
                    numbers.dataframe(table, hide_index=True, alt=f"The numbers of the chart: {alt}")


def rulers(scores: list[theme.Score], *, key: str) -> None:
    """Headline numbers, each between chance and ceiling, with their table and how to read them."""
    table = pd.DataFrame(
        {
            "score": [s.label for s in scores],
            "chance": [s.chance for s in scores],
            "baseline": [s.baseline for s in scores],
            "ours": [s.ours for s in scores],
            "95 % from": [s.low for s in scores],
            "95 % to": [s.high for s in scores],
            "ceiling": [s.ceiling for s in scores],
        }
    )
    chart(
        theme.rulers(scores),
        key=key,
        table=table,
        alt="; ".join(f"{s.label} {s.ours:.{s.digits}f}" for s in scores),
        note=RULER_NOTE,
    )


RULER_NOTE = """
Each line starts at **chance**, what guessing reaches, and ends at the **ceiling**, the best that any model could do on
these data. The ceiling is known exactly for generated cohorts only; for your own data the line ends at a perfect score,
which nobody reaches. The diamond is a **simple method** (popularity or a Markov chain for actions, logistic regression
for churn): a model that does not pass it is not worth its effort. The pale band is the 95 % interval of our score.
"""


# ---- states ----------------------------------------------------------------------------------------------------------


def empty_state(icon: str, heading: str, text: str, *, page: str | None = None, label: str = "") -> None:
    """What a page shows instead of itself: why it is empty, and the one step that changes that."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.header(heading, icon=f":material/{icon}:", text_alignment="center", anchor=False)
        st.markdown(text, text_alignment="center")
        if page is not None and st.button(label, type="primary", key=f"empty_{page}"):
            st.switch_page(PAGES[page])
        st.space("small")


def error_box(error: Exception | str, what: str = "") -> None:
    """An error a person can act on, as text; `what`: what was being tried, in a sentence of ours."""
    st.error(" ".join(filter(None, [what, plain(error)])), icon=":material/error:")


@contextmanager
def guarded(what: str = "") -> Iterator[None]:
    """Shows an error of the package, of a file or of memory as a box, and lets the rest of the page go on."""
    try:
        yield
    except CrmError as error:
        error_box(error, what)
    except MemoryError:
        error_box("there is too little memory for this; use fewer customers or a larger machine", what)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        error_box(f"{where}{error.strerror or error}; check space and rights", what)


def need_cohort() -> store.CohortCard:
    """The current cohort; without one, an empty state that says where to get one, and nothing more of the page."""
    card = session.current_cohort()
    if card is None:
        empty_state(
            "groups",
            "No customers yet",
            "Generate a cohort, or bring your own customers and their history.",
            page="cohort",
            label="Get a cohort",
        )
        st.stop()
    return card


def need_run() -> store.RunCard:
    """The current run, trained and usable; without one, an empty state that says what to do or to wait for."""
    cohort = need_cohort()
    run = session.current_run()
    if run is None:
        at_work = [job for job in store.work() if job.job.cohort == cohort.name]
        if at_work:
            empty_state(
                "model_training",
                "The models are learning",
                "This page fills as soon as the first training on this cohort has ended.",
                page="train",
                label="Watch the training",
            )
            wait_for_change()
        else:
            empty_state(
                "model_training",
                "Nothing trained on this cohort yet",
                "Two small Transformers learn from it: one plans the next three actions, one gives the churn risk.",
                page="train",
                label="Go to training",
            )
        st.stop()
    return run


def need_scores(run: store.RunCard) -> bool:
    """Whether report and scores of the run are there; if not, a note that they are being computed, and a wait."""
    if store.report(run) is not None and store.scores(run) is not None:
        return True
    store.ask_for_scores(run)
    failed = [f for f in store.failures() if f.job.run == run.run_id]
    if failed:
        error_box(failed[0].reason, "The scores of this run could not be computed:")
        if st.button("Try again", icon=":material/refresh:"):
            store.jobs().forget(run.run_id)
            st.rerun()
    else:
        with st.container(border=True):
            st.markdown(":material/hourglass_top: Scoring all customers with this run. This page fills by itself.")
        wait_for_change()
    return False


@st.fragment(run_every="1s")
def wait_for_change() -> None:
    """Draws nothing; reruns the page as soon as the queue or a result changes."""
    now = store.pulse()
    before = st.session_state.get(store.PULSE)
    st.session_state[store.PULSE] = now
    if before is not None and before != now:
        st.rerun()


# ---- scores ----------------------------------------------------------------------------------------------------------

HEADLINES = (("sequence", "step_accuracy", "Next actions that were right"), ("churn", "auc", "Churn ranking (AUC)"))
"""Part of the report, score, and what it is called where one number has to stand for a model."""


def headline_scores(report: dict[str, Any]) -> list[theme.Score]:
    """The two scores that stand for a run, as far as it has them: step accuracy and churn AUC."""
    found = [score_of(report[part], name, label) for part, name, label in HEADLINES if report.get(part)]
    return [score for score in found if score is not None]


def score_of(part: dict[str, Any], name: str, label: str, *, lower_is_better: bool = False) -> theme.Score | None:
    """One score of a part of a report with its interval, chance, best baseline and ceiling; None where it has none."""
    if part.get(name) is None:
        return None
    low, high = part.get("intervals", {}).get(name, (None, None))
    known = {k: v[name] for k, v in (part.get("baselines") or {}).items() if v.get(name) is not None}
    best = (min if lower_is_better else max)(known, key=known.__getitem__) if known else None
    return theme.Score(
        label=label,
        ours=part[name],
        chance=(part.get("chance") or {}).get(name),
        baseline=known[best] if best else None,
        baseline_name=best or "",
        ceiling=(part.get("ceiling") or {}).get(name),
        low=low,
        high=high,
        lower_is_better=lower_is_better,
    )


COMPARED = (
    ("sequence", "step_accuracy", "step accuracy"),
    ("sequence", "plan_accuracy", "plan accuracy"),
    ("sequence", "loss", "loss per step, nats"),
    ("sequence", "hr_at_1", "next action alone right (HR@1)"),
    ("sequence", "hr_at_10", "true next action among the top 10"),
    ("churn", "auc", "AUC"),
    ("churn", "accuracy", "accuracy at one half"),
    ("churn", "log_loss", "log loss, nats"),
    ("churn", "brier", "Brier score"),
)


def scores_beside(reports: dict[str, dict[str, Any] | None]) -> pd.DataFrame:
    """The scores of several runs, one column each; chance and ceiling of the first that has them beside."""
    rows = []
    there = {run: report for run, report in reports.items() if report}
    for part, name, label in COMPARED:
        parts = {run: report[part] for run, report in there.items() if report.get(part)}
        if parts:
            first = next(iter(parts.values()))
            row = {"model": part, "score": label, "chance": (first.get("chance") or {}).get(name)}
            row |= {run: own.get(name) for run, own in parts.items()}
            rows.append(row | {"ceiling": (first.get("ceiling") or {}).get(name)})
    return pd.DataFrame(rows)
