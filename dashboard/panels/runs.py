"""Runs on the training page: the list, one run in detail, or several compared."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from crm_models.core.config import RunConfig
from crm_models.core.schema import ModelName
from crm_models.evaluation.compare import MIN_CUSTOMERS, compare_churn, compare_sequences
from dashboard.panels import loss as loss_panels
from dashboard.panels import time_split, train_form, widgets
from dashboard.state import predictions, session, store

LOOKED_AT = "compare_runs"
STATES = {"running": "training"}
"""States of a run that have another name on screen."""


def history(cohort: store.CohortCard) -> None:
    """Draw the list of runs, and the selected ones: one in detail, or several compared."""
    st.header("Runs on this cohort", anchor=False)
    runs = store.run_cards(cohort.name)
    if not runs:
        text = "Each training creates a run with its settings, curves, scores and plans."
        widgets.empty_state("history", "No runs yet", text)
        return
    runs = sorted(runs, key=lambda run: run.search is not None)  # a search makes many
    st.dataframe(
        _runs_table(runs),
        hide_index=True,
        alt="Runs on this cohort, newest first, the trials of searches last",
        placeholder="–",
        column_config={
            "run": st.column_config.TextColumn(width="medium"),
            "step accuracy": st.column_config.NumberColumn(format="%.3f", help="Share of correct next actions."),
            "churn AUC": st.column_config.NumberColumn(format="%.3f", help="0.5 is chance, 1 is perfect."),
            "why": st.column_config.TextColumn("reason", width="medium"),
        },
    )
    names = [run.run_id for run in runs]
    looked_at = st.session_state.get(LOOKED_AT)
    selected = [name for name in looked_at or [] if name in names]
    if looked_at is None or (looked_at and not selected):
        selected = [run.run_id for run in runs if run.status.is_over][:1]
    st.session_state[LOOKED_AT] = selected
    picked = st.multiselect(
        "Show runs",
        names,
        key=LOOKED_AT,
        help="One run: its curves, scores and settings. Two or more: their differences and their curves in one chart.",
    )
    shown = [run for run in runs if run.run_id in picked]
    if len(shown) == 1:
        _one_run(shown[0])
    elif shown:
        _several_runs(shown)


def _runs_table(runs: list[store.RunCard]) -> pd.DataFrame:
    rows = []
    for run in runs:
        report = store.report(run) or {}
        rows.append(
            {
                "run": run.run_id,
                "state": STATES.get(run.state, run.state),
                "preset": run.preset,
                "began": widgets.ago(run.created),
                "took": widgets.duration(run.status.seconds),
                "step accuracy": (report.get("sequence") or {}).get("step_accuracy"),
                "churn AUC": (report.get("churn") or {}).get("auc"),
                "why": run.status.reason,
            }
        )
    return pd.DataFrame(rows)


def _one_run(run: store.RunCard) -> None:
    with st.container(border=True):
        st.markdown(
            f"**{widgets.plain(run.run_id)}**: {STATES.get(run.state, run.state)}, {run.preset} preset, "
            f"{widgets.ago(run.created)}"
        )
        if run.state == "failed":
            widgets.error_box(run.status.reason, "The training failed:")
        if run.state == "interrupted":
            st.warning("The training was interrupted. You can resume it.", icon=":material/warning:")
        if run.state == "stopped" and not run.usable:
            st.info(
                "Stopped before the end of its first epoch, so there is no model yet. Resume it to go on.",
                icon=":material/info:",
            )
        for note in run.about.get("notes", []):
            st.caption(widgets.plain(note))
        if run.state == "running":
            st.caption("Its curves are at the top of this page.")
        elif run.status.epochs:  # also if the run waits for its scores
            loss_panels.curves(run, "one")
        elif run.state == "waiting":
            st.caption("It is in the queue at the top of this page.")
        report = store.report(run)
        if report is not None:
            if headline := widgets.headline_scores(report):
                widgets.rulers(headline, key=f"scores_{run.run_id}")
        elif run.usable and run.state != "scoring":
            store.ask_for_scores(run)
        _run_actions(run)
        with st.expander("All settings and training data", icon=":material/list:"):
            st.dataframe(_settings_table([run]), hide_index=True, alt="Settings of the run")


def _run_actions(run: store.RunCard) -> None:
    with st.container(horizontal=True):
        if run.usable:
            st.button(
                "Use this run", icon=":material/check:", on_click=session.choose_run, args=(run.run_id,), key="use_run"
            )
        if run.state in ("interrupted", "stopped") and st.button("Resume training", icon=":material/resume:"):
            store.resume_run(run)
            st.rerun()
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown(f"Delete **{widgets.plain(run.run_id)}** with its weights and scores? This cannot be undone.")
            st.button(
                "Yes, delete it",
                type="primary",
                key="delete_run",
                on_click=session.delete_run,
                args=(run.run_id,),
                disabled=run.state == "running",
                help="Stop the training first." if run.state == "running" else None,
            )


def _several_runs(runs: list[store.RunCard]) -> None:
    table = _settings_table(runs)
    values = table[[run.run_id for run in runs]]
    differ = table[values.nunique(axis=1, dropna=False) > 1]
    with st.container(border=True):
        with widgets.guarded("The runs cannot be compared:"):
            _which_is_better(runs)
        st.markdown("**Settings that differ**")
        if differ.empty:
            st.caption("None: same settings and seed.")
        else:
            st.dataframe(differ, hide_index=True, alt="Settings that differ between the runs")
        loss_panels.compared(runs)
        scores = widgets.scores_beside({run.run_id: store.report(run) for run in runs})
        if not scores.empty:
            st.markdown("**Scores on held-out customers**")
            st.dataframe(
                scores,
                hide_index=True,
                alt="Scores of the runs, with chance and ceiling",
                column_config=widgets.number_columns(scores),
            )
        with st.container(horizontal=True):
            for run in runs:
                if run.usable:
                    st.button(
                        f"Use {widgets.plain(run.run_id, 48)}",
                        icon=":material/check:",
                        on_click=session.choose_run,
                        args=(run.run_id,),
                        key=f"use_run_{run.run_id}",
                    )


HEADLINES: tuple[tuple[ModelName, str, str, dict[str, str]], ...] = (
    ("churn", "auc", "churn", {"auc": "AUC", "log_loss": "log loss"}),
    ("sequence", "step_accuracy", "next actions", {"step_accuracy": "step accuracy", "loss": "loss per step"}),
)
"""Of each model: the score that ranks runs, what it predicts, and the scores that are compared."""


def _which_is_better(runs: list[store.RunCard]) -> None:
    """Draw which of the runs is better at churn and at next actions, compared with the next best of them."""
    st.markdown("**Which is better**")
    with st.spinner("Predicting the held-out customers (once per run)", show_time=True):
        for model, headline, subject, names in HEADLINES:
            scored = [(run, (store.report(run) or {}).get(model)) for run in runs]
            ranked = sorted(
                (run for run, part in scored if part and part.get(headline) is not None),
                key=lambda run: -(store.report(run) or {})[model][headline],
            )
            if len(ranked) > 1:
                st.markdown(_verdict(ranked[0], ranked[1], model, subject, names))
        for run in runs:
            twin = next((other for other in runs if time_split.is_random_twin(other, run.config)), None)
            if run.config.split == "time" and run.usable and twin is not None:
                st.markdown("**Lost by the split by time**")
                st.markdown("\n".join(f"- {sentence}" for sentence in time_split.lost(run, twin)))


def _verdict(
    best: store.RunCard, next_best: store.RunCard, model: ModelName, subject: str, names: dict[str, str]
) -> str:
    """A sentence: which of two runs is better at a model's task, by how much, and how sure that is."""
    first, second = (getattr(predictions.tested(run), model) for run in (best, next_best))
    a, b = widgets.plain(best.run_id, 48), widgets.plain(next_best.run_id, 48)
    if first is None or second is None or best.cohort != next_best.cohort:
        return f"- {subject.capitalize()}: {a} and {b} cannot be compared on the same customers."
    differences = compare_churn(first, second) if model == "churn" else compare_sequences(first, second)
    if not differences:
        return (
            f"- {subject.capitalize()}: {a} and {b} share fewer than {MIN_CUSTOMERS} held-out customers with the same "
            "outcomes, because their seeds or the dates of their splits differ. Train with the same ones to compare."
        )
    parts = [
        f"{names[d.score]} by {abs(d.gap.value):.3f}{_in_favour(d.gap.value, a, b)} (95%: {d.gap.low:+.3f} to "
        f"{d.gap.high:+.3f})"
        for d in differences
    ]
    on = f"on the {differences[0].n_customers:,} customers that both held out"
    lead = differences[0]
    if not lead.is_clear:
        return f"- {subject.capitalize()}: **no clear difference** between {a} and {b}: {' and '.join(parts)}, {on}."
    winner, loser = (a, b) if lead.gap.value > 0 else (b, a)
    return f"- {subject.capitalize()}: **{winner} is better** than {loser}: {' and '.join(parts)}, {on}."


def _in_favour(gap: float, first: str, second: str) -> str:
    """Which of two runs a difference speaks for, as part of a sentence; "" if it would be shown as 0."""
    return f" in favour of {first if gap > 0 else second}" if abs(gap) >= 0.0005 else ""


def _settings_table(runs: list[store.RunCard]) -> pd.DataFrame:
    """One row per setting, one column per run; values as text, because a column may hold several types."""
    columns = {run.run_id: _flat(run.config, run) for run in runs}
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    words = {"setting": [train_form.label_of(name) for name in names]}
    return pd.DataFrame(words | {run: [values.get(n, "") for n in names] for run, values in columns.items()})


def _flat(config: RunConfig, run: store.RunCard) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in config.to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{name}.{field}": str(v) for field, v in value.items()}
        else:
            flat[name] = ", ".join(value) if isinstance(value, list) else str(value)
    flat["training customers"] = f"{run.about['customers']['train']:,}"
    flat["cohort"] = run.cohort
    flat["cohort hash"] = run.about["cohort_hash"][:12]
    return flat
