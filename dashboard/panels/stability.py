"""Stability over seeds: the button that trains them, where they disagree, and the mark on a customer's plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.planning.plans import Plans
from crm_models.planning.stability import Stability
from crm_models.runs.folder import RunFolder
from crm_models.runs.stability import FILE, read_stability
from dashboard.jobs.queue import JobAtWork
from dashboard.panels import widgets
from dashboard.state import session, store, workspace

SEEDS = 5
SCORES = (("churn", "auc", "churn AUC"), ("sequence", "step_accuracy", "correct next actions"))


def of_run(run: store.RunCard) -> Stability | None:
    """What several seeds of a run say; None if nobody asked, or the file is damaged (`section` says so)."""
    try:
        return _read(run)
    except CrmError:
        return None


def of_plans(run: store.RunCard) -> Stability | None:
    """The same where it is about the plans that are shown: the seeds plan as a whole, not single steps."""
    return of_run(run) if store.plan_for() == "whole" else None


def _read(run: store.RunCard) -> Stability | None:
    folder = run.folder.folder
    return _cached(str(folder), workspace.mark(folder / FILE), workspace.mark(folder / "weights.safetensors"))


@st.cache_resource(max_entries=3, show_spinner=False)
def _cached(folder: str, mark: str, weights: str) -> Stability | None:
    return read_stability(RunFolder(Path(folder)))


def section(run: store.RunCard) -> None:
    """Draw where the seeds of a run disagree, or the button that trains them."""
    with st.container(border=True):
        st.markdown("**Stability over seeds**")
        found = None
        with widgets.guarded("What the seeds say cannot be read:"):
            found = _read(run)
            if found is not None:
                _disagreement(found)
        _train(run, is_known=found is not None)


def _disagreement(found: Stability) -> None:
    threshold = session.threshold()
    counts, n_unsure = found.counts(threshold), int((~found.agree(session.policy())).sum())
    ranges = {words: found.spread(model, score) for model, score, words in SCORES}
    spread = "; ".join(f"{words} {ends[0]:.3f} to {ends[1]:.3f}" for words, ends in ranges.items() if ends)
    st.markdown(
        f"{len(found.seeds)} seeds of the same training, on the same customers. Of {counts['customers']:,} customers "
        f"**{counts['change_side']:,}** change side of the threshold {threshold:.2f}, and "
        f"**{counts['change_first_action']:,}** their first action. **{n_unsure:,}** plans are "
        "**not confident**: the column `confident` of the download says which."
    )
    if spread:
        st.caption(f"Over the seeds: {spread}.")


def _train(run: store.RunCard, *, is_known: bool) -> None:
    waiting = any(job.job.run == run.run_id and job.job.task == "stability" for job in store.work())
    if waiting:
        st.caption(":material/hourglass_top: More seeds are being trained; the Train page shows how far they are.")
        widgets.wait_for_change()
    elif not is_known:
        st.caption(
            "A model depends on its seed: initial weights and order of the customers. Training again with other seeds "
            "shows which plans are down to chance."
        )
        if st.button(f"Train {SEEDS - 1} more seeds", icon=":material/casino:", key="train_seeds"):
            store.train_seeds(run, SEEDS)
            st.rerun()


def metric(run: store.RunCard) -> None:
    """Draw how many of the plans shown are not confident, if the seeds have been compared."""
    found = of_plans(run)
    if found is not None:
        widgets.metric(
            "Not confident",
            f"{(~found.agree(session.policy())).sum():,}",
            f"{len(found.seeds)} seeds disagree",
            height="content",
            about="Plans that change when only the seed of the training changes: the customer is on the other side of "
            "the threshold, or another action comes first.",
        )


def of_customer(run: store.RunCard, plans: Plans) -> None:
    """Draw whether the seeds disagree on the plan of one customer."""
    found = of_plans(run)
    if found is None or not (found.confident(plans) == False).any():  # noqa: E712  # missing is not False
        return
    row = int(np.flatnonzero(found.customer_id == plans.customer_id[0])[0])
    low, high = (ends[row] for ends in found.ends)
    st.caption(
        f":material/help: **Not confident**: {len(found.seeds)} seeds of this run disagree on this plan. Churn "
        f"probability {low:.2f} to {high:.2f}."
    )


def under_way(job: JobAtWork) -> None:
    """Draw the current training of more seeds."""
    name = job.job.run
    run = store.run_card(name)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**More seeds: {widgets.plain(name)}** on {widgets.plain(job.job.cohort)}")
            stopping = workspace.jobs().stop_is_asked(name)
            st.button(
                "Stopping ..." if stopping else "Stop",
                key="stop_seeds",
                icon=":material/stop_circle:",
                disabled=stopping,
                on_click=session.stop_run,
                args=(name,),
                help="Ends after the current epoch. Seeds that are trained are kept; the button continues from there.",
            )
        members = [RunFolder(folder) for folder in (runs_of(run) if run is not None else [])]
        done = sum(member.status().state == "finished" for member in members)
        st.progress(done / (SEEDS - 1), text=f"{done} of {SEEDS - 1} seeds trained, then all customers are scored")


def runs_of(run: store.RunCard) -> list[Path]:
    """Folders of the runs of other seeds."""
    return sorted(path for path in (run.folder.folder / "seeds").glob("*") if (path / "config.json").exists())
