"""The stage of the paper page: the button, how far the re-run is, its outcome in four figures, and the way on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from crm_models.schema import MODEL_NAMES
from dashboard import paper_live, store, widgets
from dashboard.paper_story import CHAPTERS, SCORE


@st.fragment(run_every="60s")
def be_ready() -> None:
    """Keep a runner warm while this page is open; the first visitor of a workspace finds the re-run started."""
    store.paper_jobs().warm_up()
    if store.paper_state() is None and not store.paper_jobs().failures():
        store.run_paper(paper_live.DEFAULT_SEEDS)


def stage() -> None:
    """What the paper is, the button, how far the re-run is, and the way through the chapters."""
    st.markdown(
        "*Transformer Networks for Context-Aware Customer Relationship Management: Generating Personalized Engagement "
        "Sequences* (Amirthavalli, Brijet, Murugeswari and Gunasundari, 2025). Two small Transformers: one reads a "
        "customer's history and plans the **next three actions**, the other gives the **probability to leave**; above "
        "0.5 the plan turns to keeping the customer."
    )
    with st.container(border=True):
        busy = bool(store.paper_jobs().jobs())
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            clicked = st.button("Run the paper", type="primary", icon=":material/play_arrow:", disabled=busy)
            seeds = st.radio(
                "Re-runs",
                paper_live.SEEDS,
                index=paper_live.SEEDS.index(paper_live.DEFAULT_SEEDS),
                key=store.SEEDS,
                horizontal=True,
                persist_state="session",
                help="Each on fresh random customers and with fresh weights, as the paper's own run must have been.",
            )
            if busy and st.button("Stop", icon=":material/stop_circle:", help="What is there so far stays."):
                store.paper_jobs().stop(paper_live.RUN)
                st.rerun()
        if clicked:
            store.run_paper(seeds)
            st.rerun()
        _watch()
    st.markdown(" · ".join(f"[{k}\u2002{name}](#{anchor})" for k, (anchor, name) in enumerate(CHAPTERS, start=1)))


def _watch() -> None:
    """The progress of the re-run; the page is drawn anew with each of its steps, and rests when it has ended."""
    st.session_state[store.PAPER_PULSE] = store.paper_pulse()
    busy = bool(store.paper_jobs().jobs())
    st.fragment(run_every="0.5s" if busy else None)(_progress)()


def _progress() -> None:
    now = store.paper_pulse()
    if st.session_state.get(store.PAPER_PULSE) != now:
        st.session_state[store.PAPER_PULSE] = now
        st.rerun()
    jobs, state = store.paper_jobs(), store.paper_state()
    for failure in jobs.failures():
        widgets.error_box(failure.reason, "The re-run of the paper failed:")
    if why := jobs.trouble():
        widgets.error_box(why, "The process that re-runs the paper does not start:")
    elif jobs.jobs():
        _step(state, since=jobs.jobs()[0].since)
    elif state is not None:
        _ended(state)


def _step(state: dict[str, Any] | None, since: float) -> None:
    # Until the first step is written, the file is that of the run before.
    written = store.paper_written()
    if state is None or written < since or state["stage"] == "done":
        st.progress(0.0, text="Drawing customers at random, and training both models on them")
    elif state["stage"] == "seeds":
        done, wanted = state["result"]["seeds"], state["wanted"]
        st.progress(done / wanted, text=f"Re-run {done} of {wanted}: {2 * done} models trained")
    else:
        done, all_of_them = state["signals_done"], len(paper_live.SIGNALS)
        st.progress(
            done / all_of_them,
            text=f"{state['wanted']} re-runs took {state['seconds']:.1f} s. Now the same tiny models where there is "
            f"something to learn: signal {done + 1} of {all_of_them}",
        )


def _ended(state: dict[str, Any]) -> None:
    result = state["result"]
    if state["stage"] != "done":
        st.caption(f":material/info: The last re-run ended early, after {result['seeds']} of {state['wanted']} seeds.")
        return
    when = store.ago(datetime.fromtimestamp(state["ended"], UTC))
    st.caption(f"{result['seeds']} re-runs of the whole paper took {state['seconds']:.1f} s, {when}.")
    _verdict(state)


def _verdict(state: dict[str, Any]) -> None:
    """The outcome in four figures, large enough for the last row."""
    inside = state["result"]["inside"]
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
