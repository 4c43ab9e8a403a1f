"""What the training page shows of searches for better settings: how to start one, how far it is, what it found."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from crm_models.runs.search import is_installed
from crm_models.runs.trials import Search, Trial
from dashboard.panels import loss as loss_panels
from dashboard.panels import widgets
from dashboard.panels.train_form import CHURN, MODELS, SEQUENCE, learning
from dashboard.state import session, store, tune_store

CHOSEN = "tune_search"
SEEN = "tune_trials_seen"
STATES = {
    "training": "training",
    "open": "cut short",
    "finished": "finished",
    "pruned": "ended early",
    "failed": "failed",
}
LABELS = {s.path: s.label.lower() for s in (*SEQUENCE, *learning("sequence"), *CHURN, *learning("churn"))}
LABELS |= {"churn.n_bins": "bins", "sequence_training.context_dropout": "context hidden"}
FOLLOWS = ("sequence.d_feedforward", "churn.d_feedforward")
"""Not told: it keeps its proportion to the width."""


# ---- under way -------------------------------------------------------------------------------------------------------


def under_way(job: store.JobAtWork) -> None:
    """The search that the runner is at: how far, the best so far, the trial under way."""
    name = job.job.run
    found = tune_store.search(name)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(
                f"**Searching: {widgets.plain(name)}** on {widgets.plain(job.job.cohort)}, "
                f"{widgets.plain(job.job.about)}"
            )
            asked = store.jobs().stop_is_asked(name)
            st.button(
                "Stopping ..." if asked else "Stop search",
                key="stop_search",
                icon=":material/stop_circle:",
                disabled=asked,
                on_click=store.jobs().stop,
                args=(name,),
                help="Ends within a second or two. What was found stays, and the search can go on later.",
            )
        if found is None or found.state != "searching":
            st.progress(0.0, text="Starting: loading the libraries and the customers")
            return
        trial = found.trials[-1] if found.trials else None
        card = store.run_card(trial.run) if trial is not None else None
        share, left = _progress(found)
        st.progress(share, text=f"{_at(trial, card)}, {left}")
        st.markdown(_found_so_far(found))
        if card is not None and trial is not None and trial.state == "training":
            loss_panels.curves(card, "search")
        if len(found.trials) > 1:
            _trials(found)
    if st.session_state.get(SEEN) != (name, len(found.trials)):
        first_look = SEEN not in st.session_state
        st.session_state[SEEN] = (name, len(found.trials))
        if not first_look:
            st.rerun()  # another trial has begun: the list of runs below is one longer


def _progress(found: Search) -> tuple[float, str]:
    """Share of the time that is over, in [0, 1], and the rest in words."""
    minutes = found.about["limits"]["minutes"]
    if minutes is None:
        return 0.0, "without a limit of time"
    began = datetime.fromisoformat(found.about["began_at"])
    left = max(0.0, 60 * minutes - (datetime.now(UTC) - began).total_seconds())
    return 1 - left / (60 * minutes), f"{widgets.duration(left)} left"


def _at(trial: Trial | None, card: store.RunCard | None) -> str:
    if trial is None or card is None:
        return "The first trial begins"
    done = card.status.epochs[-1] if card.status.epochs else None
    return f"Trial {trial.number}, " + (f"epoch {done.epoch} of {done.n_epochs}" if done else "first epoch")


def _found_so_far(found: Search) -> str:
    """The best trial beside the starting point, in a sentence of Markdown."""
    best, first, preset = found.best, found.start, widgets.plain(found.about["preset"])
    if best is None or best.loss is None:
        return "No trial has finished yet; the first one is the preset itself."
    n = len(found.over)
    if best.number == 1:
        if n == 1:
            return f"The preset itself ({preset}) has a validation loss of **{best.loss:.4f}**: this is to be beaten."
        return f"Best of {n} trials so far: **the preset itself** ({preset}), validation loss **{best.loss:.4f}**."
    beside = ""
    if first is not None and first.loss:
        beside = f", {1 - best.loss / first.loss:.1%} below the {first.loss:.4f} of the preset itself ({preset})"
    return f"Best of {n} trials so far: **trial {best.number}**, validation loss **{best.loss:.4f}**{beside}."


# ---- starting, and what was found ------------------------------------------------------------------------------------


def section(cohort: store.CohortCard) -> None:
    """The folded part of the page: start a search, and look at those that have ended."""
    with st.expander("Search for better settings", icon=":material/manage_search:"):
        st.markdown(
            "The presets suit most data. A search tries other settings of one model on **these** customers: one "
            "training after the other, for as long as you allow, each learning from the earlier ones. It starts from "
            "the preset itself and compares on validation customers, so there the best is never worse than the "
            "preset. Each trial joins the runs below."
        )
        if not is_installed():
            st.info(
                "The search needs Optuna, a package that is not installed here. Run `make tune` (or "
                "`pip install -r requirements-tune.txt`) once, then start the app anew.",
                icon=":material/info:",
            )
        else:
            _form(cohort)
        at_work = {job.job.run for job in store.work()}
        ended = {s.folder.name: s for s in tune_store.searches(cohort.name) if s.folder.name not in at_work}
        if ended:
            st.divider()
            _one_search(ended[_chosen(list(ended))])


def _form(cohort: store.CohortCard) -> None:
    facts = cohort.facts
    possible = [m for m, there in (("churn", facts.labelled), ("sequence", facts.interactions)) if there]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.selectbox("Model to improve", possible, format_func=MODELS.__getitem__, key="tune_model", width=210)
        preset = st.selectbox("Start from", ("standard", "strong"), key="tune_preset", width=140)
        minutes = st.number_input(
            "Minutes",
            min_value=1,
            max_value=tune_store.MOST_MINUTES,
            value=tune_store.DEFAULT_MINUTES,
            key="tune_minutes",
            help="A trial that is under way when the time is up is kept, and can be gone on with.",
            width=140,
        )
        clicked = st.button(
            "Start search",
            icon=":material/search:",
            disabled=not possible,
            help="Trainings wait until it has ended; it can be stopped, and gone on with later.",
        )
        if clicked and model is not None:
            name = tune_store.start(cohort.name, model=model, preset=preset, minutes=minutes)
            store.jobs().wait_until_taken(name)
            session.say(f"{widgets.plain(name)} is on its way", icon=":material/play_arrow:")
            st.rerun()


def _chosen(names: list[str]) -> str:
    """The search to look at: the latest unless the viewer picked another."""
    if len(names) == 1:
        return names[0]
    if st.session_state.get(CHOSEN) not in names:
        st.session_state[CHOSEN] = names[0]
    return str(st.selectbox("Searches on this cohort", names, key=CHOSEN))


def _one_search(found: Search) -> None:
    name, best = found.folder.name, found.best
    st.markdown(
        f"**{widgets.plain(name)}**: {found.model} model, from {widgets.plain(found.about['preset'])}, "
        f"{found.state}, {widgets.duration(found.about['seconds'])} of training"
    )
    st.markdown(_found_so_far(found).replace(" so far", ""))
    if found.trials:
        _trials(found)
    st.caption(
        "The lowest of many losses is a little lucky: the scores on held-out customers, which no search looks at, say "
        "what the settings are worth."
    )
    with st.container(horizontal=True):
        if best is not None and st.button(
            "Train with the best settings",
            icon=":material/play_arrow:",
            key="tune_train",
            disabled=best.number == 1,
            help="Trains every model that the data allow; the other model with its preset.",
        ):
            run = tune_store.train_with_best(found)
            session.say(f"{widgets.plain(run)} is on its way", icon=":material/play_arrow:")
            st.rerun()
        if is_installed() and st.button(
            "Go on searching",
            icon=":material/resume:",
            key="tune_go_on",
            help="For as many minutes as are set above, beginning with the trial that was cut short.",
        ):
            tune_store.go_on(found, minutes=st.session_state.get("tune_minutes", tune_store.DEFAULT_MINUTES))
            st.rerun()
        with st.popover("Delete", icon=":material/delete:", key="tune_delete_menu"):
            st.markdown(f"Delete **{widgets.plain(name)}** with the runs of all its trials? This cannot be undone.")
            st.button("Yes, delete it", type="primary", key="tune_delete", on_click=tune_store.delete, args=(found,))


def _trials(found: Search) -> None:
    """A table of the trials, the best first, then those without a loss."""
    best = found.best
    rows = sorted(found.trials, key=lambda t: (t.state != "finished", math.inf if t.loss is None else t.loss))
    st.dataframe(
        pd.DataFrame(
            {
                "trial": [t.number for t in rows],
                "validation loss": [t.loss for t in rows],
                "state": ["best" if t == best else STATES[t.state] for t in rows],
                "took": [widgets.duration(t.seconds) for t in rows],
                "differs from the preset": [_told(t) for t in rows],
            }
        ),
        hide_index=True,
        height=min(38 + 35 * len(rows), 318),
        alt="Trials of the search, the best first",
        placeholder="–",
        column_config={
            "trial": st.column_config.NumberColumn(width="small", help="The first is the preset itself."),
            "validation loss": st.column_config.NumberColumn(
                format="%.4f", help="On customers that the model does not learn from, nats. Lower is better."
            ),
            "state": st.column_config.TextColumn(
                help="Ended early: at half of its epochs or later it was worse than half of the earlier trials."
            ),
            "differs from the preset": st.column_config.TextColumn(width="large"),
        },
    )


def _told(trial: Trial) -> str:
    """What a trial changed, in words."""
    if trial.number == 1:
        return "nothing: this is the preset"
    said = [f"{LABELS.get(name, name)} {value}" for name, value in trial.settings.items() if name not in FOLLOWS]
    return ", ".join(said)
