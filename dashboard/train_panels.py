"""What the training page shows: the training under way, what can be trained, the list of runs, one run, several."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.config import RunConfig
from crm_models.errors import CrmError
from crm_models.estimate import Estimate, estimate, past_run, progress
from crm_models.paper import TABLE_III
from crm_models.schema import MODEL_NAMES
from dashboard import store, training_charts, tune_panels, tune_store, viewer, widgets
from dashboard.charts import CHANCE, MODEL
from dashboard.train_form import Wanted
from dashboard.training_charts import Curve, Stretch

MODEL_TITLES = {"sequence": "Sequence model: the next action", "churn": "Churn model: the risk to leave"}
LOOKED_AT = "compare_runs"
AWAITED = "first_point_awaited"
STATES = {
    "running": "training",
    "scoring": "scoring",
    "waiting": "waiting",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}


@st.fragment(run_every="60s")
def be_ready() -> None:
    """Keep a runner warm while this page is open, so that a click becomes a point on the chart in about two seconds."""
    store.jobs().warm_up()


# ---- under way -------------------------------------------------------------------------------------------------------


def live() -> None:
    """The training under way and those that wait, of any cohort; polls only while there is one."""
    _show_what_ended()
    st.session_state[store.PULSE] = store.pulse()
    st.session_state[AWAITED] = awaited = _first_point_awaited()
    st.fragment(run_every=None if not store.work() else "0.2s" if awaited else "0.5s")(_live)()


def _first_point_awaited() -> bool:
    """Whether a training has begun and its first epoch is not there yet: somebody looks at an empty chart."""
    at_work = [job.job.run for job in store.work() if job.state == "training" and job.job.task != "tune"]
    return any((card := store.run_card(run)) is None or not card.status.epochs for run in at_work)


def _show_what_ended() -> None:
    """Whoever watched a training, or a search, finds it (its best trial) opened below when it has ended."""
    state, at_work = st.session_state, [job.job.run for job in store.work() if job.state != "waiting"]
    watched = state.get(viewer.WATCHED)
    if watched and watched not in at_work:
        search = tune_store.search(watched)
        ended = search.best.run if search is not None and search.best is not None else watched
        if store.run_card(ended) is not None:
            state[LOOKED_AT] = [ended]
    state[viewer.WATCHED] = at_work[0] if at_work else None


def _live() -> None:
    now = store.pulse()
    if st.session_state.get(store.PULSE) != now:
        st.session_state[store.PULSE] = now
        st.rerun()  # something began or ended: the whole page changes
    if why := store.jobs().trouble():
        widgets.error_box(why, "Jobs wait, but the process that trains does not start:")
    for job in store.work():
        if job.state == "waiting":
            with st.container(border=True, horizontal=True, vertical_alignment="center"):
                st.markdown(
                    f":material/schedule: **{widgets.plain(job.job.run)}** on {widgets.plain(job.job.cohort)}, "
                    f"{widgets.plain(job.job.about)}: waiting, number {job.place} in the queue"
                )
                if st.button("Remove", key=f"remove_{job.job.run}", icon=":material/close:", type="tertiary"):
                    store.jobs().forget(job.job.run)
                    st.rerun()
        elif job.job.task == "tune":
            tune_panels.under_way(job, curves)
        else:
            _under_way(job)
    if st.session_state.get(AWAITED) and not _first_point_awaited():
        st.session_state[AWAITED] = False
        st.rerun()  # the point is drawn; from here on the page looks less often


def _under_way(job: store.JobAtWork) -> None:
    run = store.run_card(job.job.run)
    with st.container(border=True):
        heading = "Scoring all customers" if job.state == "scoring" else "Training"
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(
                f"**{heading}: {widgets.plain(job.job.run)}** on {widgets.plain(job.job.cohort)}, "
                f"{widgets.plain(job.job.about)}"
            )
            if job.state == "training":
                asked = store.jobs().stop_is_asked(job.job.run)
                if st.button(
                    "Stopping ..." if asked else "Stop training",
                    key="stop",
                    icon=":material/stop_circle:",
                    disabled=asked,
                    help="Ends within a second or two; the best weights so far are kept and can be used.",
                ):
                    store.jobs().stop(job.job.run)
                    st.rerun(scope="fragment")
        if run is None:
            st.progress(0.0, text="Starting: loading the libraries and the customers")
            return
        if job.state == "training":
            share, left = progress(run.config, run.status.epochs, _expected(run))
            done = run.status.epochs[-1] if run.status.epochs else None
            where = f"{done.model} model, epoch {done.epoch} of {done.n_epochs}" if done else "first epoch"
            rest = f", about {widgets.duration(left)} left at most" if done else ""
            st.progress(min(share, 1.0), text=f"{where}{rest}")
        else:
            st.progress(1.0, text="Trained. Now the report on held-out customers, and everybody's risk and plan.")
        curves(run, "live")


def _expected(run: store.RunCard) -> Estimate:
    train = run.about["customers"]["train"]
    share = 1 - run.config.test_share - run.config.valid_share
    return estimate(
        run.config, customers=round(train / share), events_each=_events_each(run.cohort), past=_past(run.run_id)
    )


def curves(run: store.RunCard, place: str) -> None:
    """The loss curves of the models of a run, side by side; place: keeps apart what is drawn twice on a page."""
    shown = [model for model in run.config.models if run.epochs(model) or not run.status.is_over]
    grid = st.grid(max(len(shown), 1), min_column_width=widgets.CHART_WIDTH)
    for model in shown:
        with grid.cell():
            _curve_chart(run, model, place)


def _curve_chart(run: store.RunCard, model: Any, place: str) -> None:
    curve = curve_of(run, model)
    training = run.config.training(model)
    overlay = TABLE_III[model] if run.preset == "paper" else ()
    table = pd.DataFrame({"epoch": curve.epochs, "training loss": curve.train, "validation loss": curve.valid})
    last = f", last {curve.train[-1]:.4f}" if curve.train else ""
    widgets.chart(
        training_charts.losses(
            curve,
            title=MODEL_TITLES[model],
            chance=chance_loss(run, model),
            chance_name="Chance",
            n_epochs=len(curve.epochs) if run.status.is_over else max(training.n_epochs, len(curve.epochs)),
            printed=overlay,
        ),
        key=f"{place}_{run.run_id}_{model}",
        table=table,
        alt=f"Training loss of the {model} model by epoch{last}",
        note=_note(run, model),
    )


def _note(run: store.RunCard, model: str) -> str:
    chance = "as many equally likely actions as there are" if model == "sequence" else "always saying one half"
    said = (
        "The loss says how surprised the model is by what really happened: lower is better, 0 is certainty. The grey "
        f"line is **chance**: {chance}. The **solid** line is measured on customers that the model does not learn "
        "from; where it turns up while the dotted one still falls, the model begins to learn by heart, and training "
        "stops. The dotted line, on the customers it learns from, may lie above the solid one: while learning, "
        "parts of the model are switched off at random."
    )
    if any(e.rehearsal for e in run.epochs(model)):
        said += (
            " In the shaded **rehearsal** it learns who fell silent at an earlier date, which the histories tell by "
            "themselves; the dotted line belongs to that question there, the solid one always to the labels."
        )
    if any(e.short for e in run.epochs(model)):
        said += (
            " The shaded **short course** comes first. Where its second half hardly lowers the solid line, there is no "
            "more to learn, and training ends; else the model starts anew, and takes its time for the epochs left."
        )
    if any(e.refit for e in run.epochs(model)):
        said += (
            " In the shaded **refit** at the end it takes the better of the courses before once more, from all "
            "customers but those held out for the report; nobody is left to draw a solid line with."
        )
    if run.preset == "paper":
        said += (
            " The dashed line is what the paper prints in its **Table III**, on random data with 50 actions; on "
            "another cohort the two need not meet."
        )
    return said


def curve_of(run: store.RunCard, model: str) -> Curve:
    """The epochs of one model of a run as a curve."""
    epochs = run.epochs(model)
    facts = (run.result or {}).get("models", {}).get(model, {})
    return Curve(
        name=run.run_id,
        epochs=[e.epoch for e in epochs],
        train=[e.train_loss for e in epochs],
        valid=[e.valid_loss for e in epochs],
        best_epoch=facts.get("best_epoch"),
        stretches=[
            Stretch(name=name, first=own[0], last=own[-1], color=color)
            for name, color, own in (
                ("Rehearsal", CHANCE, [e.epoch for e in epochs if e.rehearsal]),
                ("Short course", CHANCE, [e.epoch for e in epochs if e.short]),
                ("Refit", MODEL, [e.epoch for e in epochs if e.refit]),
            )
            if own
        ],
    )


def chance_loss(run: store.RunCard, model: str) -> float | None:
    """Loss in nats of a model that knows nothing; None where the cohort is gone."""
    if model == "churn":
        return math.log(2)
    try:
        return math.log(max(2, store.cohort_card(run.cohort).about["actions"]))
    except CrmError:
        return None


# ---- before ----------------------------------------------------------------------------------------------------------


def what_can_be_trained(cohort: store.CohortCard) -> None:
    """A word on what this cohort cannot train."""
    if not cohort.facts.interactions:
        st.info("This cohort has no interactions, so only the churn model will be trained.", icon=":material/info:")
    if not cohort.facts.labelled:
        st.info(
            "Churn is not known for anybody here, so only the sequence model will be trained.", icon=":material/info:"
        )


def time_it_takes(cohort: store.CohortCard, wanted: Wanted) -> None:
    """The estimated time, and what it rests on."""
    made = estimate(
        wanted.config,
        customers=cohort.facts.customers,
        events_each=_events_each(cohort.name),
        past=_past(),
    )
    basis = "from earlier runs of this shape on this machine" if made.measured else "a rough guess: no such run yet"
    st.caption(
        f":material/timer: At most about {widgets.duration(made.seconds)} ({basis}); early stopping may end sooner."
    )


def start(cohort: store.CohortCard, wanted: Wanted) -> None:
    """Queue the training the viewer asked for."""
    name = store.start_run(
        cohort.name,
        arguments=wanted.arguments,
        about=wanted.about,
        wish=wanted.name or f"{cohort.name}-{wanted.config.preset}",
    )
    store.jobs().wait_until_taken(name)
    st.toast(f"{widgets.plain(name)} is on its way", icon=":material/play_arrow:")


def _events_each(cohort_name: str) -> float:
    try:
        facts = store.cohort_card(cohort_name).facts
    except CrmError:
        return 0.0
    return facts.interactions / max(facts.customers, 1)


def _past(without: str = "") -> list[Any]:
    ended = [run for run in store.run_cards() if run.usable and run.run_id != without]
    return [past_run(run.about, run.result or {}, _events_each(run.cohort)) for run in ended[:20]]


def failures(cohort: store.CohortCard) -> None:
    """Trainings that never began, with the reason."""
    for failed in store.failures():
        if failed.job.cohort != cohort.name or failed.job.task == "score":
            continue
        with st.container(horizontal=True, vertical_alignment="center"):
            st.error(
                f"**{widgets.plain(failed.job.run)}** did not start: {widgets.plain(failed.reason)}",
                icon=":material/error:",
            )
            if st.button("Dismiss", key=f"dismiss_{failed.job.run}", type="tertiary"):
                store.jobs().forget(failed.job.run)
                st.rerun()


# ---- after -----------------------------------------------------------------------------------------------------------


def history(cohort: store.CohortCard) -> None:
    """The list of runs; one of them in detail, or several beside each other."""
    st.header("Runs on this cohort", anchor=False)
    runs = store.run_cards(cohort.name)
    if not runs:
        said = "Each training becomes a run: its settings, curves, scores and plans."
        widgets.empty_state("history", "No runs yet", said)
        return
    st.dataframe(
        _runs_table(runs),
        hide_index=True,
        alt="Runs on this cohort, newest first",
        placeholder="–",
        column_config={
            "run": st.column_config.TextColumn(width="medium"),
            "step accuracy": st.column_config.NumberColumn(
                format="%.3f", help="Share of next actions that were right."
            ),
            "churn AUC": st.column_config.NumberColumn(format="%.3f", help="0.5 is chance, 1 is perfect."),
            "why": st.column_config.TextColumn("why it ended", width="medium"),
        },
    )
    names = [run.run_id for run in runs]
    looked_at = st.session_state.get(LOOKED_AT)
    there = [name for name in looked_at or [] if name in names]
    if looked_at is None or (looked_at and not there):
        there = [run.run_id for run in sorted(runs, key=lambda r: r.search is not None) if run.status.is_over][:1]
    st.session_state[LOOKED_AT] = there
    picked = st.multiselect(
        "Look at runs",
        names,
        key=LOOKED_AT,
        help="One run: its curves, scores and settings. Two or more: what differs, curves over each other.",
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
                "state": STATES[run.state],
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
            f"**{widgets.plain(run.run_id)}**: {STATES[run.state]}, {run.preset} preset, {widgets.ago(run.created)}"
        )
        if run.state == "failed":
            widgets.error_box(run.status.reason, "The training failed:")
        if run.state == "interrupted":
            st.warning("The training was cut off. It can go on from where it was.", icon=":material/warning:")
        for note in run.about.get("notes", []):
            st.caption(widgets.plain(note))
        if run.state == "running":
            st.caption("Its curves are at the top of this page.")
        elif run.status.epochs:  # also of a run that waits for its scores
            curves(run, "one")
        elif run.state == "waiting":
            st.caption("It waits in the queue at the top of this page.")
        report = store.report(run)
        if report is not None:
            widgets.rulers(widgets.headline_scores(report), key=f"scores_{run.run_id}")
        elif run.usable and run.state != "scoring":
            store.ask_for_scores(run)
        _run_actions(run)
        with st.expander("All settings and what it was trained on", icon=":material/list:"):
            st.dataframe(_settings_table([run]), hide_index=True, alt="Settings of the run")


def _run_actions(run: store.RunCard) -> None:
    with st.container(horizontal=True):
        if run.usable:
            st.button(
                "Use this run", icon=":material/check:", on_click=viewer.choose_run, args=(run.run_id,), key="use_run"
            )
        if run.state in ("interrupted", "stopped") and st.button("Go on training", icon=":material/resume:"):
            store.resume_run(run)
            st.rerun()
        with st.popover("Delete", icon=":material/delete:"):
            st.markdown(f"Delete **{widgets.plain(run.run_id)}** with its weights and scores? This cannot be undone.")
            st.button(
                "Yes, delete it",
                type="primary",
                key="delete_run",
                on_click=store.delete_run,
                args=(run.run_id,),
                disabled=run.state == "running",
                help="Stop the training first." if run.state == "running" else None,
            )


def _several_runs(runs: list[store.RunCard]) -> None:
    table = _settings_table(runs)
    values = table[[run.run_id for run in runs]]
    differ = table[values.nunique(axis=1, dropna=False) > 1]
    with st.container(border=True):
        st.markdown("**What differs**")
        if differ.empty:
            st.caption("Nothing: same settings, same seed.")
        else:
            st.dataframe(differ, hide_index=True, alt="Settings that differ between the runs")
        models = [m for m in MODEL_NAMES if any(run.epochs(m) for run in runs)]
        grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
        for model in models:
            with grid.cell():
                drawn = [curve_of(run, model) for run in runs]
                widgets.chart(
                    training_charts.compared_losses(
                        drawn, title=MODEL_TITLES[model], chance=chance_loss(runs[0], model)
                    ),
                    key=f"compare_{model}",
                    alt=f"Loss of the {model} model by epoch, for {sum(bool(c.epochs) for c in drawn)} runs",
                    note="Each run in its colour: the loss on customers that it does not learn from, or the training "
                    "loss where none were held back. Lower is better; the grey line is chance.",
                    table=pd.concat(
                        [
                            pd.DataFrame({"run": c.name, "epoch": c.epochs, "train": c.train, "valid": c.valid})
                            for c in drawn
                        ]
                    ),
                )
        scores = widgets.scores_beside({run.run_id: store.report(run) for run in runs})
        if not scores.empty:
            st.markdown("**Scores on held-out customers**")
            st.dataframe(scores, hide_index=True, alt="Scores of the runs beside chance and ceiling")


def _settings_table(runs: list[store.RunCard]) -> pd.DataFrame:
    """One row per setting, one column per run; text, so that a column may hold all kinds."""
    columns = {run.run_id: _flat(run.config, run) for run in runs}
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    return pd.DataFrame(
        {"setting": names} | {run: [values.get(n, "") for n in names] for run, values in columns.items()}
    )


def _flat(config: RunConfig, run: store.RunCard) -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in config.to_dict().items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": str(v) for inner, v in value.items()}
        else:
            flat[name] = ", ".join(value) if isinstance(value, list) else str(value)
    flat["customers that trained"] = f"{run.about['customers']['train']:,}"
    flat["cohort"] = run.cohort
    flat["cohort hash"] = run.about["cohort_hash"][:12]
    return flat
