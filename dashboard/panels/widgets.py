"""Widgets shared by the pages: escaped text, charts with their table, empty states, errors, notes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from crm_models.core.errors import AccessError, CrmError, is_out_of_memory, why
from crm_models.evaluation.scores import LOWER_IS_BETTER, best_baseline
from crm_models.planning.export import neutralised
from dashboard.charts import theme
from dashboard.charts.digits import share as share
from dashboard.state import access, session, store, view

PAGES = {
    "home": "app_pages/home.py",
    "cohort": "app_pages/cohort.py",
    "train": "app_pages/train.py",
    "evaluate": "app_pages/evaluate.py",
    "attention": "app_pages/attention.py",
    "customers": "app_pages/customers.py",
    "plans": "app_pages/plans.py",
    "campaigns": "app_pages/campaigns.py",
    "paper": "app_pages/paper.py",
}
"""File of each page by its name, which is also its address (home: /)."""


CHART_WIDTH = 330
"""Minimum width in pixels of a chart in a grid; in a narrower window the charts are stacked."""


# ---- text ------------------------------------------------------------------------------------------------------------


def plain(text: object, limit: int | None = None) -> str:
    """Escape text from data for places that render Markdown (labels, captions, metrics): literal, on one line."""
    line = " ".join(str(text).split())
    if limit is not None and len(line) > limit:
        line = line[: limit - 1].rstrip() + "…"
    # A zero-width joiner breaks what a backslash cannot escape: addresses that become links, arrows that become glyphs,
    # and the colon that opens Streamlit's directives (":red[", ":material/", ":smile:").
    joined = re.sub(r"(?i)www(?=\.)|@|-(?=>)|<(?=-)|:", "\\g<0>\u2060", line)
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~<>$&=^\"'@/])", r"\\\1", joined)


def title(heading: str, question: str) -> None:
    """Draw the heading of a page and the question that the page answers."""
    view.current().title = heading
    st.title(heading)
    st.caption(question)


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


def metric(
    label: str, value: str, note: str, *, about: str | None = None, height: Literal["stretch", "content"] = "stretch"
) -> None:
    """Draw a number in a box with a note in grey below it. about: its help text."""
    st.metric(label, value, note, border=True, height=height, delta_color="off", delta_arrow="off", help=about)


def chart(
    fig: go.Figure,
    *,
    key: str,
    alt: str,
    table: pd.DataFrame | None = None,
    note: str | None = None,
    pick: bool = False,
) -> int | None:
    """Draw a figure with its table, a note on how to read it, and its numbers as a file. alt: for screen readers.

    pick: whether a click selects a row of the figure; returns its place on the y axis, or None.
    """
    view.current().charts[key] = view.Shown(figure=fig, alt=alt, table=table, note=note or "")
    with st.container(gap="xxsmall"):
        clicked: Any = st.plotly_chart(
            fig, key=key, alt=alt, config=theme.CONFIG, width="stretch", selection_mode="points",
            on_select="rerun" if pick else "ignore",
        )  # fmt: skip
        points = clicked.selection.points if pick else []
        picked = int(points[0]["y"]) if points else None
        if table is None and note is None:
            return picked
        with st.container(horizontal=True, gap="small"):
            if note is not None:
                with st.popover("How to read this", icon=":material/help:", type="tertiary"):
                    st.markdown(note)
            if table is not None:
                numbers = st.popover(
                    "Numbers", icon=":material/table:", type="tertiary", on_change="rerun", key=f"{key}_numbers"
                )
                if numbers.open:
                    numbers.dataframe(
                        table,
                        hide_index=True,
                        alt=f"The numbers of the chart: {alt}",
                        column_config=number_columns(table),
                    )
                st.download_button(
                    "CSV",
                    data=access.shown(lambda: table_file(table)),
                    file_name=f"{key}.csv", mime="text/csv", icon=":material/download:", type="tertiary",
                    on_click="ignore", key=f"{key}_csv",
                )  # fmt: skip
    return picked


def table_file(table: pd.DataFrame) -> bytes:
    """A table as CSV for spreadsheets: they know its encoding by the mark in front, and run none of its text."""
    safe = table.copy()
    for name in safe:
        if not numeric(safe[name]):
            safe[name] = safe[name].map(lambda value: neutralised(value) if isinstance(value, str) else value)
    return safe.to_csv(index=False, lineterminator="\r\n").encode("utf-8-sig")


def numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers; yes and no are none."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def number_columns(table: pd.DataFrame) -> dict[str, Any]:
    """Column configuration that writes the numbers of a table by one rule: three digits, counts with commas."""
    config: dict[str, Any] = {}
    for name, column in table.items():
        if numeric(column):
            filled = column.dropna()
            is_count = pd.api.types.is_integer_dtype(column) or (
                bool((filled % 1 == 0).all()) and bool((filled.abs() >= 2).any())
            )
            config[str(name)] = st.column_config.NumberColumn(format="localized" if is_count else "%.3f")
    return config


def rulers(scores: list[theme.Score], *, key: str) -> None:
    """Draw headline scores between chance and ceiling, with their table and a note on how to read them."""
    chart(
        theme.rulers(scores),
        key=key,
        table=score_table(scores),
        alt="; ".join(f"{s.label} {s.ours:.{s.digits}f}" for s in scores),
        note=RULER_NOTE,
    )


def score_table(scores: list[theme.Score]) -> pd.DataFrame:
    """The numbers of rulers, one score a row."""
    return pd.DataFrame(
        {
            "score": [s.label for s in scores],
            "chance": [s.chance for s in scores],
            "baseline": [s.baseline for s in scores],
            "ours": [s.ours for s in scores],
            "95% from": [s.low for s in scores],
            "95% to": [s.high for s in scores],
            "ceiling": [s.ceiling for s in scores],
        }
    )


RULER_NOTE = """
Each line runs from **chance**, the score of guessing, to the **ceiling**, the best score that any model could reach on
these data. The ceiling is known exactly for generated cohorts only; for your own data the line ends at a perfect score,
which no model reaches. The diamond is the best **baseline**, a simple method such as a Markov chain for actions or
logistic regression for churn: a model that does not beat it is not worth using. The pale band is the 95% interval of
our score.
"""


# ---- states ----------------------------------------------------------------------------------------------------------


def empty_state(icon: str, heading: str, text: str, *, page: str | None = None, label: str = "") -> None:
    """Draw the empty state of a page: why it is empty, and optionally a button to the page that fixes it."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.header(heading, icon=f":material/{icon}:", text_alignment="center", anchor=False)
        st.markdown(text, text_alignment="center")
        if page is not None and st.button(label, type="primary", key=f"empty_{page}"):
            st.switch_page(PAGES[page])
        st.space("small")


def error_box(error: Exception | str, what: str = "") -> None:
    """Draw an error as text. what: the action that failed, in our words."""
    st.error(" ".join(filter(None, [what, plain(error)])), icon=":material/error:")


@contextmanager
def guarded(what: str = "") -> Iterator[None]:
    """Show an error of the package, of a file or of memory in a box, and continue with the rest of the page."""
    try:
        yield
    except AccessError as error:  # what a person may not do is no fault of the page
        st.warning(plain(error), icon=":material/lock:")
    except (CrmError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not isinstance(error, CrmError) and not is_out_of_memory(error):
            raise
        error_box(why(error), what)


def _gone(gone: session.Gone) -> None:
    """Draw what cannot be opened, a button to the nearest that can, and one to go on without."""
    st.warning(plain(gone.why), icon=":material/link_off:")
    choose = session.choose_cohort if gone.kind == "cohort" else session.choose_run
    with st.container(horizontal=True):
        if (name := gone.nearest) is not None:
            st.button(f"Open {plain(name, 48)}", type="primary", on_click=choose, args=(name,), key="open_nearest")
        st.button(f"Show the newest {gone.kind}", on_click=session.forget_link, key="forget_link")


def missing_choice() -> bool:
    """Draw why the chosen cohort or run cannot be opened, with the nearest to open instead; False if it can."""
    gone, trouble = session.gone(), session.cohort_trouble()
    if gone is not None:
        _gone(gone)
    elif trouble:
        error_box(trouble, "This cohort cannot be read:")
    elif session.current_cohort() is None and store.cohort_names():
        empty_state("groups", "No cohort selected", "Select one in the sidebar, under Cohort.")
    else:
        return False
    return True


def need_cohort() -> store.CohortCard:
    """Return the current cohort; without one, draw an empty state with a button to the cohort page and stop."""
    if missing_choice():
        st.stop()
    card = session.current_cohort()
    if card is None:
        empty_state(
            "groups",
            "No customers yet",
            "Generate a cohort, or upload your own customers and their history.",
            page="cohort",
            label="Get a cohort",
        )
        st.stop()
    return card


def need_run() -> store.RunCard:
    """Return the current trained run; without one, draw an empty state on what to do or wait for, and stop."""
    cohort = need_cohort()
    run = session.current_run()
    if run is None and any(card.usable for card in store.run_cards(cohort.name)):
        empty_state("model_training", "No run selected", "Select one in the sidebar, under Run.")
        wait_for_change()  # a training may have ended just after the run was chosen
        st.stop()
    if run is None:
        at_work = [job for job in store.work() if job.job.cohort == cohort.name]
        if at_work:
            empty_state(
                "model_training",
                "The models are training",
                "This page updates when the first training on this cohort has ended.",
                page="train",
                label="Watch the training",
            )
        else:
            for run_id, trouble in store.damaged_runs().items():
                error_box(trouble, f"The run {plain(run_id)} cannot be read:")
            _no_models(cohort.name)
        wait_for_change()
        st.stop()
    return run


def _no_models(cohort: str) -> None:
    if not (reasons := store.untrainable(cohort)):
        empty_state(
            "model_training",
            "No trained models for this cohort yet",
            "Train two small Transformers: one plans the next three actions, one gives the churn risk.",
            page="train",
            label="Go to training",
        )
    else:
        why = plain("; ".join(reasons))
        why = f"{why[:1].upper()}{why[1:]}."
        empty_state(
            "groups", "No model can be trained on these customers", why, page="cohort", label="Get other customers"
        )


def need_scores(run: store.RunCard) -> bool:
    """Whether the run has its report and scores; if not, queue them, draw a note and wait."""
    if store.report(run) is not None and store.scores(run) is not None:
        return True
    store.ask_for_scores(run)
    failed = [f for f in store.failures() if f.job.run == run.run_id]
    if failed:
        error_box(failed[0].reason, "The scores of this run could not be computed:")
        if st.button("Try again", icon=":material/refresh:"):
            with guarded():
                store.forget_job(run.run_id)
                st.rerun()
    else:
        with st.container(border=True):
            st.markdown(
                f":material/hourglass_top: Scoring all customers with this run{_behind(run)}. This page updates by "
                "itself."
            )
        wait_for_change()
    return False


def _behind(run: store.RunCard) -> str:
    """What has to end before the scoring of this run begins, as part of a sentence; "" if it is its turn."""
    at_work = [job for job in store.work() if job.place == 0 and job.job.run != run.run_id]
    return f" begins when **{plain(at_work[0].job.run)}** has ended (see Train)" if at_work else ""


@st.fragment(run_every="1s")
def wait_for_change() -> None:
    """Rerun the page when the queue or a result has changed since its script began; draws nothing."""
    if st.session_state.get(store.PULSE) != store.pulse():
        st.rerun()


# ---- scores ----------------------------------------------------------------------------------------------------------

HEADLINES = (("sequence", "step_accuracy", "Correct next actions"), ("churn", "auc", "Churn ranking (AUC)"))
"""The headline score of each model: part of the report, name in it, label."""


def headline_scores(report: dict[str, Any]) -> list[theme.Score]:
    """The headline scores of a run, where it has them: step accuracy and churn AUC."""
    scores = [score_of(report[part], name, label) for part, name, label in HEADLINES if report.get(part)]
    return [score for score in scores if score is not None]


def score_of(part: dict[str, Any], name: str, label: str) -> theme.Score | None:
    """One score of a part of a report with its interval, chance, best baseline and ceiling; None if it is missing."""
    if part.get(name) is None:
        return None
    low, high = part.get("intervals", {}).get(name, (None, None))
    baselines = part.get("baselines") or {}
    best = best_baseline(baselines, name)
    return theme.Score(
        label=label,
        ours=part[name],
        chance=(part.get("chance") or {}).get(name),
        baseline=baselines[best][name] if best else None,
        baseline_name=best or "",
        ceiling=(part.get("ceiling") or {}).get(name),
        low=low,
        high=high,
        lower_is_better=name in LOWER_IS_BETTER,
    )


COMPARED = (
    ("sequence", "step_accuracy", "step accuracy"),
    ("sequence", "plan_accuracy", "plan accuracy"),
    ("sequence", "loss", "loss per step, nats"),
    ("sequence", "hr_at_1", "first next action correct (HR@1)"),
    ("sequence", "hr_at_10", "true next action in the top 10 (HR@10)"),
    ("churn", "auc", "AUC"),
    ("churn", "accuracy", "accuracy at 0.50"),
    ("churn", "log_loss", "log loss, nats"),
    ("churn", "brier", "Brier score"),
)


def scores_beside(reports: dict[str, dict[str, Any] | None]) -> pd.DataFrame:
    """Scores of several runs, one column per run, with chance and ceiling from the first run that has the score."""
    rows = []
    available = {run: report for run, report in reports.items() if report}
    for part, name, label in COMPARED:
        parts = {run: report[part] for run, report in available.items() if report.get(part)}
        if parts:
            first = next(iter(parts.values()))
            row = {"model": part, "score": label, "chance": (first.get("chance") or {}).get(name)}
            row |= {run: scores.get(name) for run, scores in parts.items()}
            rows.append(row | {"ceiling": (first.get("ceiling") or {}).get(name)})
    return pd.DataFrame(rows).dropna(axis=1, how="all")
