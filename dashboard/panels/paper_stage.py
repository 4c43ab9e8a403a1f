"""Top section of the paper page: start button, progress of the re-run, four result metrics, links to the chapters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from crm_models.core.schema import MODEL_NAMES
from dashboard.charts import digits
from dashboard.jobs import paper as paper_job
from dashboard.panels import widgets
from dashboard.panels.paper_story import CHAPTERS, SCORE, re_runs
from dashboard.state import access, paper_store


@st.fragment(run_every="60s")
def be_ready() -> None:
    """Keep a worker ready while this page is open, and start the first re-run of the workspace."""
    if not access.may("paper.run"):
        return
    paper_store.queue().warm_up()
    if paper_store.state() is None and not paper_store.queue().failures() and not paper_store.queue().jobs():
        paper_store.start(paper_job.DEFAULT_SEEDS)


def stage() -> None:
    """Draw the reference to the paper, the start button, the progress and the links to the chapters."""
    st.markdown(
        "*Transformer Networks for Context-Aware Customer Relationship Management: Generating Personalized Engagement "
        "Sequences* (Amirthavalli, Brijet, Murugeswari and Gunasundari, 2025). Two small Transformers: one reads a "
        "customer's history and plans the **next three actions**, the other gives the **churn probability**. Above 0.5 "
        "the plan switches to retention actions."
    )
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            # Enabled even during a re-run, so that a presenter can start when the audience is looking.
            clicked = st.button(
                "Run the paper",
                type="primary",
                icon=":material/play_arrow:",
                help="Starts over. The tables below are updated after each re-run.",
            )
            seeds = st.radio(
                "Re-runs",
                paper_job.SEEDS,
                index=paper_job.SEEDS.index(paper_job.DEFAULT_SEEDS),
                key=paper_store.SEEDS,
                horizontal=True,
                persist_state="session",
                help="Number of re-runs. Each uses new random customers and new initial weights, like the paper's run.",
            )
            if paper_store.queue().jobs() and st.button(
                "Stop the re-run", icon=":material/stop_circle:", help="The results so far are kept."
            ):
                paper_store.stop()
                st.rerun()
        if clicked:
            paper_store.run(seeds)
            st.rerun()
        _watch()
    st.markdown(" · ".join(f"[{k}\u2002{name}](#{anchor})" for k, (anchor, name) in enumerate(CHAPTERS, start=1)))


def _watch() -> None:
    """Draw the progress, and redraw the page after each step until the re-run has ended."""
    st.session_state[paper_store.PULSE] = paper_store.pulse()
    is_running = bool(paper_store.queue().jobs())
    st.fragment(run_every="0.5s" if is_running else None)(_progress)()


def _progress() -> None:
    now = paper_store.pulse()
    if st.session_state.get(paper_store.PULSE) != now:
        st.session_state[paper_store.PULSE] = now
        st.rerun()
    queue, state = paper_store.queue(), paper_store.state()
    if (file := paper_store.damaged()) is not None:
        widgets.error_box(f"{file}: damaged; run the paper again to replace it", "The last re-run cannot be shown:")
    for failure in queue.failures():
        widgets.error_box(failure.reason, "The re-run of the paper failed:")
    if why := queue.trouble():
        widgets.error_box(why, "The process for the re-run does not start:")
    elif queue.jobs():
        _step(state, begun=queue.jobs()[0].state != "waiting")
        if state is not None and (shown := paper_store.shown(state)):
            if shown["is_last"]:
                st.caption(f":material/history: Until the first new re-run is done, this is {_last_result(shown)}.")
            _verdict(shown["result"], state)
    elif state is not None:
        _ended(state)


def _step(state: dict[str, Any] | None, *, begun: bool) -> None:
    # Until the new re-run starts, the state is that of the previous one.
    if not begun or state is None or state["result"] is None or paper_store.is_over(state):
        st.progress(0.0, text="Generating random customers and training both models on them")
    elif state["stage"] == "seeds":
        done, wanted = state["result"]["seeds"], state["wanted"]
        st.progress(done / wanted, text=f"Re-run {done} of {wanted}: {2 * done} models trained")
    else:
        done, n_signals = state["signals_done"], len(paper_job.SIGNALS)
        st.progress(
            done / n_signals,
            text=f"{re_runs(state['wanted'])} took {state['seconds']:.1f} s. Now training the same small models on "
            f"customers with a signal: {done + 1} of {n_signals}",
        )


def _ended(state: dict[str, Any]) -> None:
    result = state["result"]
    if result is None:
        shown = paper_store.shown(state)
        previous = f" Below is {_last_result(shown)}." if shown else ""
        st.caption(f":material/info: The last re-run ended before its first seed was done.{previous}")
        if shown:
            _verdict(shown["result"], state)
        return
    if not paper_store.is_over(state):
        done = result["seeds"] if state["stage"] == "seeds" else state["signals_done"]
        total = re_runs(state["wanted"]) if state["stage"] == "seeds" else f"{len(paper_job.SIGNALS)} signals"
        st.caption(f":material/info: Stopped after {done} of {total}. The results so far are below.")
        _verdict(result, state)
        return
    when = widgets.ago(datetime.fromtimestamp(state["ended"], UTC))
    st.caption(f"{re_runs(result['seeds'])} of the whole paper took {state['seconds']:.1f} s, {when}.")
    _verdict(result, state)


def _last_result(shown: dict[str, Any]) -> str:
    when = widgets.ago(datetime.fromtimestamp(shown["ended"], UTC))
    return f"the result of the last run: {re_runs(shown['result']['seeds'])}, {when}"


def _verdict(result: dict[str, Any], state: dict[str, Any]) -> None:
    """Draw the result as four metrics, large enough for the back row of the audience."""
    inside = result["inside"]
    losses = sum(sum(inside[f"{model}_loss"]) for model in MODEL_NAMES)
    accuracies_4 = sum(inside[f"{model}_accuracy"] for model in MODEL_NAMES)
    accuracies_2 = sum(inside[f"{model}_accuracy_table_2"] for model in MODEL_NAMES)
    best = state["lifelike"].get("1.0")
    with st.grid(4, min_column_width=150):
        st.metric("Table III: losses inside", f"{losses} of 20", help="Printed losses within the range of our re-runs.")
        st.metric("Table IV: accuracies inside", f"{accuracies_4} of 2", help="Within the range of our re-runs.")
        st.metric("Table II: accuracies inside", f"{accuracies_2} of 2", help="Within the range of our re-runs.")
        if best:
            values = " · ".join(f"{digits.share(best[model][SCORE[model]])}" for model in MODEL_NAMES)
            st.metric("With full signal", values, help="Accuracy of the same small models at signal 1. See chapter 7.")
