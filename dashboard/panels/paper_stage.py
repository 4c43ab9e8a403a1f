"""The stage of the paper page: the button, how far the re-run is, its outcome in four figures, and the way on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from crm_models.core.schema import MODEL_NAMES
from dashboard.jobs import paper as paper_job
from dashboard.panels import widgets
from dashboard.panels.paper_story import CHAPTERS, SCORE, re_runs
from dashboard.state import paper_store


@st.fragment(run_every="60s")
def be_ready() -> None:
    """Keep a runner warm while this page is open; the first visitor of a workspace finds the re-run started."""
    paper_store.queue().warm_up()
    if paper_store.state() is None and not paper_store.queue().failures() and not paper_store.queue().jobs():
        paper_store.run(paper_job.DEFAULT_SEEDS)


def stage() -> None:
    """What the paper is, the button, how far the re-run is, and the way through the chapters."""
    st.markdown(
        "*Transformer Networks for Context-Aware Customer Relationship Management: Generating Personalized Engagement "
        "Sequences* (Amirthavalli, Brijet, Murugeswari and Gunasundari, 2025). Two small Transformers: one reads a "
        "customer's history and plans the **next three actions**, the other gives the **probability to leave**; above "
        "0.5 the plan turns to keeping the customer."
    )
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            # Always ready, also while a re-run is under way: whoever presents begins when the audience is looking.
            clicked = st.button(
                "Run the paper",
                type="primary",
                icon=":material/play_arrow:",
                help="Starts over: the tables below fill anew with each re-run.",
            )
            seeds = st.radio(
                "Re-runs",
                paper_job.SEEDS,
                index=paper_job.SEEDS.index(paper_job.DEFAULT_SEEDS),
                key=paper_store.SEEDS,
                horizontal=True,
                persist_state="session",
                help="Each on fresh random customers and with fresh weights, as the paper's own run must have been.",
            )
            if paper_store.queue().jobs() and st.button(
                "Stop the re-run", icon=":material/stop_circle:", help="What is there so far stays."
            ):
                paper_store.stop()
                st.rerun()
        if clicked:
            paper_store.run(seeds)
            st.rerun()
        _watch()
    st.markdown(" · ".join(f"[{k}\u2002{name}](#{anchor})" for k, (anchor, name) in enumerate(CHAPTERS, start=1)))


def _watch() -> None:
    """The progress of the re-run; the page is drawn anew with each of its steps, and rests when it has ended."""
    st.session_state[paper_store.PULSE] = paper_store.pulse()
    busy = bool(paper_store.queue().jobs())
    st.fragment(run_every="0.5s" if busy else None)(_progress)()


def _progress() -> None:
    now = paper_store.pulse()
    if st.session_state.get(paper_store.PULSE) != now:
        st.session_state[paper_store.PULSE] = now
        st.rerun()
    queue, state = paper_store.queue(), paper_store.state()
    for failure in queue.failures():
        widgets.error_box(failure.reason, "The re-run of the paper failed:")
    if why := queue.trouble():
        widgets.error_box(why, "The process that re-runs the paper does not start:")
    elif queue.jobs():
        _step(state, begun=queue.jobs()[0].state != "waiting")
        if state is not None and (found := paper_store.shown(state)):
            if found["is_last"]:
                st.caption(f":material/history: Until the first new re-run is done, this is {_the_last(found)}.")
            _verdict(found["result"], state)
    elif state is not None:
        _ended(state)


def _step(state: dict[str, Any] | None, *, begun: bool) -> None:
    # Until the new re-run has begun, the state is that of the one before.
    if not begun or state is None or state["result"] is None or paper_store.is_over(state):
        st.progress(0.0, text="Drawing customers at random, and training both models on them")
    elif state["stage"] == "seeds":
        done, wanted = state["result"]["seeds"], state["wanted"]
        st.progress(done / wanted, text=f"Re-run {done} of {wanted}: {2 * done} models trained")
    else:
        done, all_of_them = state["signals_done"], len(paper_job.SIGNALS)
        st.progress(
            done / all_of_them,
            text=f"{re_runs(state['wanted'])} took {state['seconds']:.1f} s. Now the same tiny models where there is "
            f"something to learn: signal {done + 1} of {all_of_them}",
        )


def _ended(state: dict[str, Any]) -> None:
    result = state["result"]
    if result is None:
        found = paper_store.shown(state)
        below = f" Below is {_the_last(found)}." if found else ""
        st.caption(f":material/info: The last re-run ended before its first seed was done.{below}")
        if found:
            _verdict(found["result"], state)
        return
    if not paper_store.is_over(state):
        done = result["seeds"] if state["stage"] == "seeds" else state["signals_done"]
        of = re_runs(state["wanted"]) if state["stage"] == "seeds" else f"{len(paper_job.SIGNALS)} signals"
        st.caption(f":material/info: Stopped after {done} of {of}; what it found until then is below.")
        _verdict(result, state)
        return
    when = widgets.ago(datetime.fromtimestamp(state["ended"], UTC))
    st.caption(f"{re_runs(result['seeds'])} of the whole paper took {state['seconds']:.1f} s, {when}.")
    _verdict(result, state)


def _the_last(found: dict[str, Any]) -> str:
    when = widgets.ago(datetime.fromtimestamp(found["ended"], UTC))
    return f"the result of the last run: {re_runs(found['result']['seeds'])}, {when}"


def _verdict(result: dict[str, Any], state: dict[str, Any]) -> None:
    """The outcome in four figures, large enough for the last row."""
    inside = result["inside"]
    third = sum(sum(inside[f"{model}_loss"]) for model in MODEL_NAMES)
    fourth = sum(inside[f"{model}_accuracy"] for model in MODEL_NAMES)
    second = sum(inside[f"{model}_accuracy_table_2"] for model in MODEL_NAMES)
    best = state["lifelike"].get("1.0")
    with st.grid(4, min_column_width=150):
        st.metric(
            "Table III: losses inside", f"{third} of 20", help="Of the printed losses, in the range over our re-runs."
        )
        st.metric("Table IV: accuracies inside", f"{fourth} of 2", help="In the range over our re-runs.")
        st.metric("Table II: accuracies inside", f"{second} of 2", help="In the range over our re-runs.")
        if best:
            values = " · ".join(f"{best[model][SCORE[model]]:.0%}" for model in MODEL_NAMES)
            st.metric(
                "With something to learn", values, help="Accuracy of the same tiny models at signal 1; chapter 7."
            )
