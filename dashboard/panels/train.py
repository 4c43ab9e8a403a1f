"""Trainings on the training page: starting one, the current one, the queue and failures. Ended ones are in `runs`."""

from __future__ import annotations

from typing import Any

import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.schema import MODEL_NAMES, ModelName
from crm_models.runs.eta import Estimate, estimate, past_run, progress
from dashboard.jobs.queue import JobAtWork
from dashboard.panels import loss as loss_panels
from dashboard.panels import runs as run_panels
from dashboard.panels import stability as stability_panels
from dashboard.panels import tune as tune_panels
from dashboard.panels import widgets
from dashboard.panels.train_form import Wanted
from dashboard.state import access, session, store, tune_store, workspace

AWAITED = "first_point_awaited"


@st.fragment(run_every="60s")
def be_ready() -> None:
    """Keep a worker ready while this page is open: the first point then appears about two seconds after the click."""
    if access.may("run.train"):
        workspace.jobs().warm_up()


# ---- current training and queue --------------------------------------------------------------------------------------


def live() -> None:
    """Draw the current training and the waiting ones, of all cohorts; polls only while there are any."""
    _show_what_ended()
    st.session_state[AWAITED] = awaited = _first_point_awaited()
    st.fragment(run_every=None if not store.work() else "0.2s" if awaited else "0.5s")(_live)()


def _first_point_awaited() -> bool:
    """Whether the current training has no epoch yet, so that the viewer is looking at an empty chart."""
    current = [
        job.job.run for job in store.work() if job.state == "training" and job.job.task not in ("tune", "stability")
    ]
    return any((card := store.run_card(run)) is None or not card.status.epochs for run in current)


def _show_what_ended() -> None:
    """When a watched training or search has ended, select its run (the best trial of a search) in the list below."""
    state, current = st.session_state, [job.job.run for job in store.work() if job.state != "waiting"]
    watched = state.get(session.WATCHED)
    if watched and watched not in current:
        search = tune_store.search(watched)
        ended = search.best.run if search is not None and search.best is not None else watched
        if store.run_card(ended) is not None:
            state[run_panels.LOOKED_AT] = [ended]
    state[session.WATCHED] = current[0] if current else None


def _live() -> None:
    now = store.pulse()
    if st.session_state.get(store.PULSE) != now:
        st.session_state[store.PULSE] = now
        st.rerun()  # a job started or ended, which changes the whole page
    if why := workspace.jobs().trouble():
        widgets.error_box(why, "Jobs are waiting, but the training process does not start:")
    for job in store.work():
        if job.state == "waiting":
            with st.container(border=True, horizontal=True, vertical_alignment="center"):
                st.markdown(
                    f":material/schedule: **{widgets.plain(job.job.run)}** on {widgets.plain(job.job.cohort)}, "
                    f"{widgets.plain(job.job.about)}: waiting, number {job.place} in the queue"
                )
                # A run can wait more than once: for its training, for more seeds, for scores of another cohort.
                if st.button("Remove", key=f"remove_{job.place}", icon=":material/close:", type="tertiary"):
                    with widgets.guarded():
                        store.forget_job(job.job.run)
                        st.rerun()
        elif job.job.task == "tune":
            tune_panels.under_way(job)
        elif job.job.task == "stability":
            stability_panels.under_way(job)
        else:
            _under_way(job)
    if st.session_state.get(AWAITED) and not _first_point_awaited():
        st.session_state[AWAITED] = False
        st.rerun()  # the first point is drawn, so the page can poll less often


def _under_way(job: JobAtWork) -> None:
    run = store.run_card(job.job.run)
    with st.container(border=True):
        heading = "Scoring all customers" if job.state == "scoring" else "Training"
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(
                f"**{heading}: {widgets.plain(job.job.run)}** on {widgets.plain(job.job.cohort)}, "
                f"{widgets.plain(job.job.about)}"
            )
            if job.state == "training":
                stopping = workspace.jobs().stop_is_asked(job.job.run)
                if st.button(
                    "Stopping ..." if stopping else "Stop training",
                    key="stop",
                    icon=":material/stop_circle:",
                    disabled=stopping,
                    help="Ends within a second or two. The best weights so far are kept and can be used.",
                ):
                    with widgets.guarded():
                        store.stop_run(job.job.run)
                        st.rerun(scope="fragment")
        if run is None:
            st.progress(0.0, text="Starting: loading libraries and customers")
            return
        if job.state == "training":
            share, text = position(run)
            st.progress(min(share, 1.0), text=text)
        else:
            st.progress(
                1.0,
                text="Trained. Now evaluating on held-out customers, then scoring all customers.",
            )
        loss_panels.curves(run, "live")


def position(run: store.RunCard) -> tuple[float, str]:
    """Share of a training that is done, and where it is with the time left, in words."""
    share, seconds_left = progress(run.config, run.status.epochs, _expected(run))
    if not run.status.epochs:
        return share, "first epoch"
    done = run.status.epochs[-1]
    left = f"at most about {widgets.duration(seconds_left)} left"
    return share, f"{done.model} model, epoch {done.epoch} of {done.n_epochs}, {left}"


def _expected(run: store.RunCard) -> Estimate:
    train = run.about["customers"]["train"]
    share = 1 - run.config.test_share - run.config.valid_share
    return estimate(
        run.config, customers=round(train / share), events_each=_events_each(run.cohort), past=_past(run.run_id)
    )


# ---- new training ----------------------------------------------------------------------------------------------------


def what_can_be_trained(reasons: dict[ModelName, str]) -> None:
    """Draw why this cohort cannot train a model, or any. reasons: from `store.cannot_train`."""
    if not reasons:
        return
    why = "; ".join(widgets.plain(reason) for reason in reasons.values())
    if len(reasons) == len(MODEL_NAMES):
        st.warning(f"These customers cannot train a model: {why}.", icon=":material/warning:")
        st.page_link(widgets.PAGES["cohort"], label="Get other customers", icon=":material/groups:")
    else:
        (other,) = (model for model in MODEL_NAMES if model not in reasons)
        st.info(f"Only the {other} model will be trained: {why}.", icon=":material/info:")


def time_it_takes(cohort: store.CohortCard, wanted: Wanted) -> None:
    """Draw the estimated training time and its basis."""
    prediction = estimate(
        wanted.config,
        customers=cohort.facts.customers,
        events_each=_events_each(cohort.name),
        past=_past(),
    )
    basis = "from similar runs on this machine" if prediction.measured else "a rough guess, no similar run yet"
    st.caption(
        f":material/timer: At most about {widgets.duration(prediction.seconds)} ({basis}), less with early stopping."
    )


def start(cohort: store.CohortCard, wanted: Wanted) -> None:
    """Queue the training that the viewer set up."""
    name = store.start_run(
        cohort.name,
        arguments=wanted.arguments,
        about=wanted.about,
        wish=wanted.name or f"{cohort.name}-{wanted.config.preset}",
    )
    workspace.jobs().wait_until_taken(name)
    st.toast(f"{widgets.plain(name)} added to the queue", icon=":material/play_arrow:")


def _events_each(cohort_name: str) -> float:
    try:
        facts = store.cohort_card(cohort_name).facts
    except CrmError:
        return 0.0
    return facts.interactions / max(facts.customers, 1)


def _past(exclude: str = "") -> list[Any]:
    """Facts on the last 20 usable runs, for the estimate; a search ends its trials early, so they say little."""
    usable = [run for run in store.run_cards() if run.usable and not run.search and run.run_id != exclude]
    return [past_run(run.about, run.result or {}, _events_each(run.cohort)) for run in usable[:20]]


def damaged() -> None:
    """Draw the files of the queue and of runs that cannot be read; everything else goes on."""
    for file in workspace.jobs().damaged():
        widgets.error_box(f"{file}: expected a job, found it damaged", "Left out of the queue:")
    for run_id, trouble in store.damaged_runs().items():
        with st.container(horizontal=True, vertical_alignment="center"):
            widgets.error_box(trouble, f"The run {widgets.plain(run_id)} cannot be read:")
            if st.button("Delete it", key=f"delete_damaged_{run_id}", type="tertiary"):
                session.delete_run(run_id)
                st.rerun()


def failures(cohort: store.CohortCard) -> None:
    """Draw the trainings that failed to start, with the reason."""
    for failed in store.failures():
        if failed.job.cohort not in (cohort.name, "") or failed.job.task.startswith("score"):
            continue
        with st.container(horizontal=True, vertical_alignment="center"):
            st.error(
                f"**{widgets.plain(failed.job.run)}** did not start: {widgets.plain(failed.reason)}",
                icon=":material/error:",
            )
            if st.button("Dismiss", key=f"dismiss_{failed.job.run}", type="tertiary"):
                with widgets.guarded():
                    store.forget_job(failed.job.run)
                st.rerun()
