"""Search for better settings: each trial is an ordinary run, Optuna proposes the next, the validation loss decides.

tune.json      the search space, all trials so far and the best one (see `trials`); rewritten after every change
study.db       the state of the search: an Optuna study in SQLite
NAME-01, ...   the run folders of the trials; the first one is the starting point

SQLite, because a kill never damages it, while a truncated line makes Optuna's journal unreadable. A trial that is
interrupted by a kill, a stop or the end of the time stays open: the same command resumes it from the checkpoint of its
run, with the same numbers. Test customers are never used.
"""

from __future__ import annotations

import importlib.util
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crm_models.core.config import RunConfig
from crm_models.core.errors import ConfigError, DataError, RunError
from crm_models.core.files import absolute, new_folder
from crm_models.core.provenance import now
from crm_models.core.records import EpochEnd
from crm_models.core.schema import ModelName
from crm_models.core.sealed import FORMAT, write_record
from crm_models.data.storage import describe, digest
from crm_models.runs.folder import RunFolder
from crm_models.runs.pipeline import Trainable, fit, reopen, start_run, trainable
from crm_models.runs.search_space import Range, Space, differences
from crm_models.runs.trials import FILE, SEARCH_AGAIN, SearchState, Trial, TrialState, best_of, found, read_search

if TYPE_CHECKING:
    import optuna

DEFAULT_TRIALS = 20
"""Number of trials if neither a number nor a time is given."""

RANDOM_TRIALS = 6
"""Random trials, the first included, before Optuna's sampler takes over; few, because a search has only dozens."""

LOOK_SECONDS = 0.1
"""Seconds between checks for the end of the time or a stop request; the trial then ends before its next batch."""

INSTALL = "pip install -r requirements-tune.txt"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a search ends, whichever comes first. minutes: of this call of `search`; trials: of all calls together."""

    minutes: float | None = None
    trials: int | None = None

    @property
    def most_trials(self) -> float:
        """Most trials in all; infinite if only a time is given."""
        if self.trials is not None:
            return self.trials
        return DEFAULT_TRIALS if self.minutes is None else math.inf


def is_installed() -> bool:
    """Whether Optuna, an optional package, is installed."""
    try:
        return importlib.util.find_spec("optuna") is not None
    except ValueError:  # `sys.modules` holds something that is not a module
        return False


def search(
    cohort: Path,
    out: Path,
    config: RunConfig,
    limits: Limits,
    *,
    start: RunConfig | None = None,
    pinned: tuple[str, ...] = (),
    runs: Path | None = None,
) -> Iterator[Trial]:
    """Search for better settings of the one model of `config`; yields every trial as it ends or is interrupted.

    out: the search folder; an existing search is continued if it is the same one (`RunError` otherwise). start: the
    preset that `config` was made from. pinned: `--set` names that are not searched. runs: folder for the run folders of
    the trials (None: `out`). Ends at the limits, or soon after a file `stop` appears in `out`. `DataError` if the
    cohort cannot train the model and `ConfigError` without Optuna, before anything is written.
    """
    if not is_installed():
        raise ConfigError(f"tune needs Optuna, an optional package that is not installed; install it with `{INSTALL}`")
    out, cohort = Path(out), Path(cohort)
    task = _Task.of(cohort, config, start or config, pinned)
    if (out / FILE).exists():
        task.need_same(out)
    else:
        with new_folder(out, FILE) as part:
            write_record(part / FILE, task.about() | _state("searching", limits) | found((), ()))
            with _study(part) as study:
                study.enqueue_trial({r.name: r.now for r in task.space.ranges})
    with RunFolder(out).locked(), _study(out) as study:
        (out / "stop").unlink(missing_ok=True)
        yield from _Session(task, cohort, out, Path(runs or out), study, limits).work()


def _state(state: SearchState, limits: Limits) -> dict[str, Any]:
    return {"state": state, "limits": asdict(limits)}


@contextmanager
def _study(folder: Path) -> Iterator[optuna.Study]:
    """The study in a search folder, created if there is none; its file is closed at the end."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the caller reports progress
    file, storage = absolute(folder / "study.db"), None
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
        yield optuna.create_study(study_name="tune", storage=storage, direction="minimize", load_if_exists=True)
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RunError(f"{file}: expected the study of a search, found it damaged ({reason}); {SEARCH_AGAIN}") from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


# ---- task ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What is searched. Without device and threads, which affect the time, not the result."""

    model: ModelName
    config: RunConfig
    start: RunConfig
    space: Space
    cohort: dict[str, str]

    @classmethod
    def of(cls, folder: Path, config: RunConfig, start: RunConfig, pinned: tuple[str, ...]) -> _Task:
        """The task; `ConfigError` if the configuration does not allow a search, `DataError` if the cohort does not."""
        if len(config.models) != 1:
            raise ConfigError("tune searches for one model at a time; choose sequence or churn")
        if not config.valid_share:
            problem = f"{config.preset} has none"
            raise ConfigError(f"tune compares trials on validation customers, and {problem}; start from standard")
        (model,) = config.models
        learned = trainable(folder, config)
        why = learned.reasons[model] or _no_validation(model, learned)
        if why is not None:
            raise DataError(f"{folder}: {why}")
        longest = int(learned.known.n_events.max(initial=0))
        about = {
            "cohort": str(absolute(folder)),
            "cohort_name": describe(folder)["name"],
            "cohort_hash": digest(folder),
        }
        space = Space.of(config, model, longest=longest, pinned=pinned)
        return cls(model=model, config=config, start=start, space=space, cohort=about)

    def about(self) -> dict[str, Any]:
        """The part of `tune.json` that does not change with the trials."""
        return {
            "format": FORMAT,
            "created_at": now(),
            "began_at": now(),  # of the latest call
            **self.cohort,
            "model": self.model,
            "preset": self.config.preset,
            "seed": self.config.seed,
            "objective": "lowest loss on validation customers, nats",
            "config": self.config.to_dict(),
            "space": [asdict(r) for r in self.space.ranges],
        }

    def need_same(self, out: Path) -> None:
        """`RunError` unless the search in the folder is this one."""
        about = read_search(out).about
        theirs, ours = (
            replace(c, device="auto", threads=None) for c in (RunConfig.from_dict(about["config"]), self.config)
        )
        reasons = {
            "another cohort": about["cohort_hash"] != self.cohort["cohort_hash"],
            f"the {about['model']} model": about["model"] != self.model,
            f"the preset {about['preset']}": about["preset"] != self.config.preset,
            f"seed {about['seed']}": about["seed"] != self.config.seed,
            "other settings": theirs != ours or about["space"] != [asdict(r) for r in self.space.ranges],
        }
        difference = next((reason for reason, differs in reasons.items() if differs), None)
        if difference is not None:
            raise RunError(
                f"{out}: holds a search with {difference}; repeat its command to continue it, or choose another --out"
            )

    def arguments(self, config: RunConfig) -> list[str]:
        """Options of `train` for a configuration."""
        options = ["--preset", config.preset, *(["--seed", str(config.seed)] if config.seed else [])]
        for name, value in differences(config, self.start).items():
            options += ["--set", f"{name}={value}"]
        return options


def _no_validation(model: ModelName, learned: Trainable) -> str | None:
    """Why there are no customers to compare trials on, or None if there are."""
    valid = learned.split.valid
    n = int(np.isin(learned.known.outcomes.rows, valid).sum()) if model == "sequence" else len(valid)
    return None if n else "tune compares trials on validation customers with a known outcome, and there is none"


# ---- session ---------------------------------------------------------------------------------------------------------


class _Session:
    """One call of `search`: continues the search until its limits."""

    def __init__(self, task: _Task, cohort: Path, out: Path, runs: Path, study: optuna.Study, limits: Limits) -> None:
        import optuna

        self.task, self.cohort, self.runs, self.study, self.limits = task, cohort, runs, study, limits
        self.folder = RunFolder(out)  # a search uses the lock and the stop request of a run folder
        self.name = absolute(out).name
        self.about = read_search(out).about | {"began_at": now()}
        # Measured from here, so that a slow start takes no time away from the trials.
        self.until = math.inf if limits.minutes is None else time.monotonic() + 60 * limits.minutes
        # No pruning in the first half of the epochs: on one cycle a large learning rate looks bad until the rate comes
        # down. The median of fewer than three trials means nothing.
        self.n_epochs = task.config.training(task.model).n_epochs
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=math.ceil(self.n_epochs / 2))

    def work(self) -> Iterator[Trial]:
        """Run trial after trial until the session is over."""
        while (end_state := self._end_state()) is None:
            yield self._run_trial(self._next_trial())
        self._write(end_state)

    def _end_state(self) -> SearchState | None:
        """Why the session is over; None while it is not."""
        if self.folder.stop_requested():
            return "stopped"
        if time.monotonic() >= self.until:
            return "time is up"
        return "done" if sum(t.state.is_finished() for t in self._frozen()) >= self.limits.most_trials else None

    def _next_trial(self) -> optuna.Trial:
        """The interrupted trial, or a new one."""
        import optuna

        interrupted = [t for t in self._frozen() if t.state == optuna.trial.TrialState.RUNNING]
        number = interrupted[0].number if interrupted else len(self._frozen())
        # One random generator per trial: a resumed search draws the same values as an uninterrupted one, and does not
        # repeat earlier draws.
        seed = int(np.random.default_rng([self.task.config.seed, number]).integers(2**31))
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        return optuna.Trial(self.study, interrupted[0]._trial_id) if interrupted else self.study.ask()

    def _run_trial(self, trial: optuna.Trial) -> Trial:
        """Train one trial, from its start or its checkpoint, and report its end to the study."""
        from optuna.trial import TrialState as StudyState

        space = self.task.space
        config = space.config({r.name: _suggest(trial, r) for r in space.ranges})
        self._write("searching", running=trial.number)
        run = RunFolder(self.runs / self._run_name(trial.number))
        state, reason = self._train(run, config, trial)
        loss, facts = _kept_loss(run), _facts(run, reason)
        trial.set_user_attr("facts", facts)
        if state == "finished" and loss is None:
            state = "failed"
        if state == "finished":
            # After early stopping, the loss counts for all later epochs when later trials are compared with it.
            self._report(trial, loss, facts["epochs"] + 1, self.n_epochs)
            self.study.tell(trial, loss)
        elif state != "open":
            self.study.tell(trial, state=StudyState.PRUNED if state == "pruned" else StudyState.FAIL)
        self._write("searching")
        return self._read(self._frozen()[trial.number])

    def _train(self, run: RunFolder, config: RunConfig, trial: optuna.Trial) -> tuple[TrialState, str]:
        """Train the run of a trial; its state at the end, and the reason."""
        origin = {"search": {"name": self.name, "trial": trial.number + 1}}
        if not (run.folder / "config.json").exists():
            start_run(self.cohort, run.folder, config, chosen=True, extra=origin)
        elif run.about().get("search") != origin["search"]:
            raise RunError(f"{run.folder}: holds a run that is not a trial of this search; choose another --out")
        if run.status().state == "finished":  # killed after the end of the run, before the study knew
            return "finished", ""
        pruned = beaten = False
        try:
            with self._watched(run):
                for epoch in fit(reopen(run), device=config.device, threads=config.threads):
                    pruned = pruned or self._is_hopeless(trial, run, epoch)
                    beaten = beaten or (epoch.final_refit and self._is_beaten(run))
                    if pruned or beaten:
                        run.request_stop()
        except (RunError, MemoryError) as error:
            result = run.result()
            if result is None or result["state"] != "failed":
                raise
            return "failed", str(error)
        if pruned:
            return "pruned", self._record_reason(run, "worse than half of the earlier trials at this point")
        if run.status().state == "finished":
            return "finished", ""
        if beaten:
            # Its validation loss is known, and its weights are kept.
            self._record_reason(run, "an earlier trial was better, so its final refit was left out")
            return "finished", ""
        return "open", ""

    def _is_hopeless(self, trial: optuna.Trial, run: RunFolder, epoch: EpochEnd) -> bool:
        """Whether to prune a trial: never the first one, which all are compared with, nor one in its last epoch."""
        self._report(trial, _kept_loss(run), epoch.epoch, epoch.epoch)
        return trial.number > 0 and not epoch.final_refit and epoch.epoch < epoch.n_epochs and trial.should_prune()

    def _is_beaten(self, run: RunFolder) -> bool:
        """Whether an earlier trial has a lower loss; only the best trial gets a final refit, which doubles its time."""
        best, loss = best_of([self._read(trial) for trial in self._frozen()]), _kept_loss(run)
        return best is not None and best.loss is not None and loss is not None and best.loss <= loss

    def _report(self, trial: optuna.Trial, loss: float | None, first: int, last: int) -> None:
        """Report a loss to the study for the epochs from first to last, except those already reported."""
        known = self._frozen()[trial.number].intermediate_values
        for step in range(first, last + 1):
            if loss is not None and step not in known:  # a resumed trial repeats its latest epochs
                trial.report(loss, step)

    def _record_reason(self, run: RunFolder, why: str) -> str:
        """Write into the run folder of a trial why it was stopped."""
        reason = f"ended early by the search {self.name}: {why}"
        write_record(run.folder / "result.json", (run.result() or {}) | {"reason": reason})
        return reason

    @contextmanager
    def _watched(self, run: RunFolder) -> Iterator[None]:
        """Stop the run, also within an epoch, at the end of the time or when the search is asked to stop."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(LOOK_SECONDS):
                if self.folder.stop_requested() or time.monotonic() >= self.until:
                    run.request_stop()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    # ---- output --------------------------------------------------------------------------------------------------

    def _write(self, state: SearchState, running: int | None = None) -> None:
        """Rewrite `tune.json`. running: number in the study of the trial that is being trained."""
        trials = [self._read(frozen, running) for frozen in self._frozen()]
        best = best_of(trials)
        arguments = [] if best is None else self.task.arguments(self._config(self._frozen()[best.number - 1]))
        write_record(self.folder.folder / FILE, self.about | _state(state, self.limits) | found(trials, arguments))

    def _read(self, frozen: optuna.trial.FrozenTrial, running: int | None = None) -> Trial:
        """A trial from the study and, if it has not ended, from its run folder."""
        states: dict[str, TrialState] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
        state = states.get(frozen.state.name, "training" if frozen.number == running else "open")
        run = RunFolder(self.runs / self._run_name(frozen.number))
        facts = frozen.user_attrs["facts"] if frozen.state.is_finished() else _facts(run, "")
        return Trial(
            number=frozen.number + 1,
            run=self._run_name(frozen.number),
            state=state,
            settings=differences(self._config(frozen), self.task.config),
            **facts,
        )

    def _config(self, frozen: optuna.trial.FrozenTrial) -> RunConfig:
        # After a kill, some values of a trial may not have been drawn.
        return self.task.space.config({r.name: frozen.params.get(r.name, r.now) for r in self.task.space.ranges})

    def _run_name(self, number: int) -> str:
        return f"{self.name}-{number + 1:02d}"

    def _frozen(self) -> list[optuna.trial.FrozenTrial]:
        """All trials that have started."""
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.name != "WAITING"]


def _suggest(trial: optuna.Trial, r: Range) -> int | float:
    if r.is_whole:
        return trial.suggest_int(r.name, int(r.low), int(r.high), step=r.step, log=r.log)
    return trial.suggest_float(r.name, r.low, r.high, log=r.log)


def _kept_loss(run: RunFolder) -> float | None:
    """The validation loss of the kept weights of a run: that of its best epoch so far."""
    best = [epoch.valid_loss for epoch in run.status().epochs if epoch.best]
    return best[-1] if best else None


def _facts(run: RunFolder, reason: str) -> dict[str, Any]:
    """Facts of a run that the study keeps, so that they survive the run folder."""
    if not (run.folder / "config.json").exists():
        return {"loss": None, "epochs": 0, "seconds": 0.0, "reason": reason}
    status = run.status()
    return {"loss": _kept_loss(run), "epochs": len(status.epochs), "seconds": status.seconds, "reason": reason}
