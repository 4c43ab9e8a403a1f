"""Searches for better settings on the training page: start one, follow its progress, see its results."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from crm_models.runs.search import is_installed
from crm_models.runs.trials import Search, Trial
from dashboard.charts import digits
from dashboard.jobs.queue import JobAtWork
from dashboard.panels import loss as loss_panels
from dashboard.panels import widgets
from dashboard.panels.train_form import CHURN, MODELS, SEQUENCE, learning
from dashboard.state import session, store, tune_store, workspace

CHOSEN = "tune_search"
SEEN = "tune_trials_seen"
STATES = {
    "training": "training",
    "open": "interrupted",
    "finished": "finished",
    "pruned": "ended early",
    "failed": "failed",
}
LABELS = {s.path: s.label.lower() for s in (*SEQUENCE, *learning("sequence"), *CHURN, *learning("churn"))}
LABELS |= {"churn.n_bins": "bins", "sequence_training.context_dropout": "context dropout"}
DERIVED = ("sequence.d_feedforward", "churn.d_feedforward")
"""Settings not shown, because they are a fixed multiple of the width."""


# ---- current search --------------------------------------------------------------------------------------------------


def under_way(job: JobAtWork) -> None:
    """Draw the current search: progress, best trial so far, current trial."""
    name = job.job.run
    search = tune_store.search(name)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(
                f"**Searching: {widgets.plain(name)}** on {widgets.plain(job.job.cohort)}, "
                f"{widgets.plain(job.job.about)}"
            )
            stopping = workspace.jobs().stop_is_asked(name)
            st.button(
                "Stopping ..." if stopping else "Stop search",
                key="stop_search",
                icon=":material/stop_circle:",
                disabled=stopping,
                on_click=session.stop_run,
                args=(name,),
                help="Ends within a second or two. The results are kept, and the search can be resumed later.",
            )
        if search is None or search.state != "searching":
            st.progress(0.0, text="Starting: loading libraries and customers")
            return
        trial = search.trials[-1] if search.trials else None
        card = store.run_card(trial.run) if trial is not None else None
        share, time_left = _progress(search)
        st.progress(share, text=f"{_position(trial, card)}, {time_left}")
        st.markdown(_summary(search))
        if card is not None and trial is not None and trial.state == "training":
            loss_panels.curves(card, "search")
        if len(search.trials) > 1:
            _trials(search)
    if st.session_state.get(SEEN) != (name, len(search.trials)):
        first_look = SEEN not in st.session_state
        st.session_state[SEEN] = (name, len(search.trials))
        if not first_look:
            st.rerun()  # a new trial has started and must appear in the list of runs below


def _progress(search: Search) -> tuple[float, str]:
    """Share of the time limit that has passed, in [0, 1], and the time left in words."""
    minutes = search.about["limits"]["minutes"]
    if minutes is None:
        return 0.0, "without a time limit"
    began = datetime.fromisoformat(search.about["began_at"])
    seconds_left = max(0.0, 60 * minutes - (datetime.now(UTC) - began).total_seconds())
    return 1 - seconds_left / (60 * minutes), f"{widgets.duration(seconds_left)} left"


def _position(trial: Trial | None, card: store.RunCard | None) -> str:
    if trial is None or card is None:
        return "Starting the first trial"
    done = card.status.epochs[-1] if card.status.epochs else None
    return f"Trial {trial.number}, " + (f"epoch {done.epoch} of {done.n_epochs}" if done else "first epoch")


def _summary(search: Search) -> str:
    """The best trial compared with the preset, as a sentence in Markdown."""
    best, first, preset = search.best, search.start, widgets.plain(search.about["preset"])
    if best is None or best.loss is None:
        return "No trial has finished yet. The first one is the preset itself."
    n = len(search.over)
    if best.number == 1:
        if n == 1:
            return f"The preset itself ({preset}) has a validation loss of **{best.loss:.4f}**, the value to beat."
        return f"Best of {n} trials so far: **the preset itself** ({preset}), validation loss **{best.loss:.4f}**."
    gain = ""
    if first is not None and first.loss:
        gain = (
            f", {digits.share(1 - best.loss / first.loss)} below the {first.loss:.4f} of the preset itself ({preset})"
        )
    return f"Best of {n} trials so far: **trial {best.number}**, validation loss **{best.loss:.4f}**{gain}."


# ---- start and results -----------------------------------------------------------------------------------------------


def section(cohort: store.CohortCard) -> None:
    """Draw the folded section: start a search, and see the results of ended ones."""
    with st.expander("Search for better settings", icon=":material/manage_search:"):
        st.markdown(
            "The presets suit most data. A search tries other settings of one model on **these** customers: one "
            "training after another within your time limit, each guided by the earlier ones. It starts from the "
            "preset and compares losses on validation customers, where the best trial is never worse than the preset. "
            "Each trial appears in the runs below."
        )
        if not is_installed():
            st.info(
                "The search needs the package Optuna, which is not installed. Run `make tune` (or "
                "`pip install -r requirements-tune.txt`) once, then restart the app.",
                icon=":material/info:",
            )
        else:
            _form(cohort)
        current = {job.job.run for job in store.work()}
        ended = {s.folder.name: s for s in tune_store.searches(cohort.name) if s.folder.name not in current}
        if ended:
            st.divider()
            _one_search(ended[_chosen(list(ended))])


def _form(cohort: store.CohortCard) -> None:
    trainable = store.can_train(cohort.name)[::-1]  # the churn model first: its trials are shorter
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.selectbox("Model to improve", trainable, format_func=MODELS.__getitem__, key="tune_model", width=210)
        preset = st.selectbox("Start from", ("standard", "strong"), key="tune_preset", width=140)
        minutes = st.number_input(
            "Minutes",
            min_value=1,
            max_value=tune_store.MOST_MINUTES,
            value=tune_store.DEFAULT_MINUTES,
            key="tune_minutes",
            help="A trial still training when the time is up is kept and can be resumed.",
            width=140,
        )
        clicked = st.button(
            "Start search",
            icon=":material/search:",
            disabled=not trainable,
            help="Trainings wait until the search has ended. You can stop it and resume it later.",
        )
        if clicked and model is not None:
            name = tune_store.start(cohort.name, model=model, preset=preset, minutes=minutes)
            workspace.jobs().wait_until_taken(name)
            session.say(f"{widgets.plain(name)} added to the queue", icon=":material/play_arrow:")
            st.rerun()


def _chosen(names: list[str]) -> str:
    """Name of the selected search; the latest one by default."""
    if len(names) == 1:
        return names[0]
    if st.session_state.get(CHOSEN) not in names:
        st.session_state[CHOSEN] = names[0]
    return str(st.selectbox("Searches on this cohort", names, key=CHOSEN))


def _one_search(search: Search) -> None:
    name, best = search.folder.name, search.best
    st.markdown(
        f"**{widgets.plain(name)}**: {search.model} model, from {widgets.plain(search.about['preset'])}, "
        f"{search.state}, {widgets.duration(search.about['seconds'])} of training"
    )
    st.markdown(_summary(search).replace(" so far", ""))
    if search.trials:
        _trials(search)
    st.caption(
        "The lowest of many validation losses is partly luck. The scores on held-out customers, which the search never "
        "uses, show how good the settings are."
    )
    with st.container(horizontal=True):
        if best is not None and st.button(
            "Train with the best settings",
            icon=":material/play_arrow:",
            key="tune_train",
            disabled=best.number == 1,
            help="Trains all models that the data allow. The other model uses the preset.",
        ):
            run = tune_store.train_with_best(search)
            session.say(f"{widgets.plain(run)} added to the queue", icon=":material/play_arrow:")
            st.rerun()
        if is_installed() and st.button(
            "Resume search",
            icon=":material/resume:",
            key="tune_go_on",
            help="Runs for the minutes set above, starting with the interrupted trial if there is one.",
        ):
            tune_store.go_on(search, minutes=st.session_state.get("tune_minutes", tune_store.DEFAULT_MINUTES))
            st.rerun()
        with st.popover("Delete", icon=":material/delete:", key="tune_delete_menu"):
            st.markdown(f"Delete **{widgets.plain(name)}** with the runs of all its trials? This cannot be undone.")
            st.button("Yes, delete it", type="primary", key="tune_delete", on_click=_delete, args=(search,))


def _delete(search: Search) -> None:
    session.told(tune_store.delete, search)


def _trials(search: Search) -> None:
    """Draw a table of the trials, best first, those without a loss last."""
    best = search.best
    rows = sorted(search.trials, key=lambda t: (t.state != "finished", math.inf if t.loss is None else t.loss))
    st.dataframe(
        pd.DataFrame(
            {
                "trial": [t.number for t in rows],
                "validation loss": [t.loss for t in rows],
                "state": ["best" if t == best else STATES[t.state] for t in rows],
                "took": [widgets.duration(t.seconds) for t in rows],
                "differs from the preset": [_changes(t) for t in rows],
            }
        ),
        hide_index=True,
        height=min(38 + 35 * len(rows), 318),
        alt="Trials of the search, best first",
        placeholder="–",
        column_config={
            "trial": st.column_config.NumberColumn(width="small", help="Trial 1 is the preset itself."),
            "validation loss": st.column_config.NumberColumn(
                format="%.4f", help="In nats, on validation customers. Lower is better."
            ),
            "state": st.column_config.TextColumn(
                help="Ended early: after half of its epochs or more, it was worse than half of the earlier trials."
            ),
            "differs from the preset": st.column_config.TextColumn(width="large"),
        },
    )


def _changes(trial: Trial) -> str:
    """The settings that a trial changed, in words."""
    if trial.number == 1:
        return "nothing: this is the preset"
    changes = [f"{LABELS.get(name, name)} {value}" for name, value in trial.settings.items() if name not in DERIVED]
    return ", ".join(changes)
