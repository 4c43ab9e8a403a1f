"""A search for better settings: each trial is an ordinary run, Optuna chooses the next, the validation loss decides.

tune.json      what is searched, every trial so far and the best (see `trials`); written again as trials come and go
study.db       the memory of the search: an Optuna study in SQLite
NAME-01, ...   the run folders of the trials; the first one is the starting point itself

SQLite, because a kill at any moment leaves it whole, where a line that is cut off makes Optuna's journal unreadable. A
trial that a kill, a stop or the end of the time cuts short stays open: the same command goes on with it, from the
checkpoint of its run, to the same numbers. Test customers decide nothing here, and nothing here looks at them.
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
from crm_models.core.files import new_folder, write_json
from crm_models.core.provenance import now
from crm_models.core.records import EpochEnd
from crm_models.core.schema import ModelName
from crm_models.data.cohort import Cohort
from crm_models.data.split import Outcomes, Split, outcomes
from crm_models.data.storage import digest, load_cohort
from crm_models.runs.folder import RunFolder
from crm_models.runs.pipeline import fit, reopen, start_run, trainable
from crm_models.runs.search_space import Range, Space, differences
from crm_models.runs.trials import FILE, SearchState, Trial, TrialState, best_of, found, read_search

if TYPE_CHECKING:
    import optuna

DEFAULT_TRIALS = 20
"""Trials where neither a number nor a time is given."""

RANDOM_TRIALS = 6
"""Trials, the first included, before Optuna's model of what works takes over: a search has dozens, not hundreds."""

LOOK_SECONDS = 0.1
"""How often a search looks whether its time is up or somebody asked it to stop; the trial then ends within a batch."""

INSTALL = "pip install -r requirements-tune.txt"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a search ends, whatever comes first. minutes: of this sitting, from its call; trials: of all sittings."""

    minutes: float | None = None
    trials: int | None = None

    @property
    def most_trials(self) -> float:
        """Trials in all; without end where only the time counts."""
        if self.trials is not None:
            return self.trials
        return DEFAULT_TRIALS if self.minutes is None else math.inf


def is_installed() -> bool:
    """Whether Optuna, an optional package, is there."""
    try:
        return importlib.util.find_spec("optuna") is not None
    except ValueError:  # something else stands in its place
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
    """Search for better settings of the one model of `config`; yields every trial as it ends or is cut short.

    out: the search folder; one that is there goes on where it is the same search (`RunError` otherwise). start: the
    preset that `config` was made from. pinned: `--set` names that are not searched. runs: where the run folders of the
    trials go; `out` unless said. Ends at the limits, or soon after a file `stop` appears in `out`. `DataError` where
    the cohort cannot train the model and `ConfigError` without Optuna, before anything is written.
    """
    if not is_installed():
        raise ConfigError(f"tune needs Optuna, an optional package that is not installed; install it with `{INSTALL}`")
    out, cohort = Path(out), Path(cohort)
    asked = _Asked.of(cohort, config, start or config, pinned)
    if (out / FILE).exists():
        asked.need_same(out)
    else:
        with new_folder(out, FILE) as part:
            write_json(part / FILE, asked.about() | _state("searching", limits) | found((), ()))
            with _study(part) as study:
                study.enqueue_trial({r.name: r.now for r in asked.space.ranges})
    with RunFolder(out).locked(), _study(out) as study:
        (out / "stop").unlink(missing_ok=True)
        yield from _Sitting(asked, cohort, out, Path(runs or out), study, limits).work()


def _state(state: SearchState, limits: Limits) -> dict[str, Any]:
    return {"state": state, "limits": asdict(limits)}


@contextmanager
def _study(folder: Path) -> Iterator[optuna.Study]:
    """The study in a search folder, made where there is none; its file is closed at the end."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # progress is told by whoever iterates
    storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / 'study.db').resolve()}")
    try:
        yield optuna.create_study(study_name="tune", storage=storage, direction="minimize", load_if_exists=True)
    finally:
        storage.remove_session()
        storage.engine.dispose()


# ---- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What is searched. Device and threads are not part of it: they decide how long it takes, not what is found."""

    model: ModelName
    config: RunConfig
    start: RunConfig
    space: Space
    cohort: dict[str, str]

    @classmethod
    def of(cls, folder: Path, config: RunConfig, start: RunConfig, pinned: tuple[str, ...]) -> _Asked:
        """`ConfigError` where the configuration cannot be searched with, `DataError` where the cohort cannot."""
        if len(config.models) != 1:
            raise ConfigError("tune searches for one model at a time; choose sequence or churn")
        if not config.valid_share:
            what = f"{config.preset} holds no validation customers back"
            raise ConfigError(f"tune compares trials on validation customers, and {what}; start from standard")
        (model,) = config.models
        cohort = load_cohort(folder)
        split, reasons = trainable(cohort, config)
        why = reasons[model] or _no_validation(model, cohort, split)
        if why is not None:
            raise DataError(f"{folder}: {why}")
        longest = int(np.diff(cohort.starts).max(initial=0))
        about = {"cohort": str(folder.resolve()), "cohort_name": cohort.name, "cohort_hash": digest(folder)}
        space = Space.of(config, model, longest=longest, pinned=pinned)
        return cls(model=model, config=config, start=start, space=space, cohort=about)

    def about(self) -> dict[str, Any]:
        """What `tune.json` says from the beginning on."""
        return {
            "format": 1,
            "created_at": now(),
            "began_at": now(),  # the latest sitting
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
        other = next((reason for reason, differs in reasons.items() if differs), None)
        if other is not None:
            raise RunError(f"{out}: holds a search with {other}; repeat its command to go on, or choose another --out")

    def arguments(self, config: RunConfig) -> list[str]:
        """Options of `train` that give a configuration."""
        said = ["--preset", config.preset, *(["--seed", str(config.seed)] if config.seed else [])]
        for name, value in differences(config, self.start).items():
            said += ["--set", f"{name}={value}"]
        return said


def _no_validation(model: ModelName, cohort: Cohort, split: Split) -> str | None:
    """Why there is nothing to compare trials on, or None."""
    known: Outcomes | None = outcomes(cohort) if model == "sequence" else None
    n = len(split.valid) if known is None else int(np.isin(known.rows, split.valid).sum())
    return None if n else "tune compares trials on validation customers with a known outcome, and there is none"


# ---- one sitting -----------------------------------------------------------------------------------------------------


class _Sitting:
    """One call of `search`, from where the last one ended to its limits."""

    def __init__(self, asked: _Asked, cohort: Path, out: Path, runs: Path, study: optuna.Study, limits: Limits) -> None:
        import optuna

        self.asked, self.cohort, self.runs, self.study, self.limits = asked, cohort, runs, study, limits
        self.folder = RunFolder(out)  # its lock and its stop request serve a search as they serve a run
        self.name = out.resolve().name
        self.about = read_search(out).about | {"began_at": now()}
        # From here on, so that a slow start does not use up the time: at least one trial is begun.
        self.until = math.inf if limits.minutes is None else time.monotonic() + 60 * limits.minutes
        # Half of the epochs are waited for: under the one-cycle schedule a large learning rate looks bad until the
        # rate comes down. The median of fewer than three trials is chance.
        self.n_epochs = asked.config.training(asked.model).n_epochs
        study.pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=math.ceil(self.n_epochs / 2))

    def work(self) -> Iterator[Trial]:
        """Trial after trial, until the sitting is over."""
        while (over := self._over()) is None:
            yield self._trial(self._next())
        self._write(over)

    def _over(self) -> SearchState | None:
        """Why the sitting is over; None while it is not."""
        if self.folder.stop_requested():
            return "stopped"
        if time.monotonic() >= self.until:
            return "time is up"
        return "done" if sum(t.state.is_finished() for t in self._frozen()) >= self.limits.most_trials else None

    def _next(self) -> optuna.Trial:
        """The trial that was cut short, or a new one."""
        import optuna

        cut = [t for t in self._frozen() if t.state == optuna.trial.TrialState.RUNNING]
        number = cut[0].number if cut else len(self._frozen())
        # A generator of its own for each trial: a search that was resumed asks for the same as one that ran through,
        # and never again for what it had at random before.
        seed = int(np.random.default_rng([self.asked.config.seed, number]).integers(2**31))
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIALS, seed=seed)
        return optuna.Trial(self.study, cut[0]._trial_id) if cut else self.study.ask()

    def _trial(self, trial: optuna.Trial) -> Trial:
        """Train one trial, from its start or from where it was cut short, and tell the study how it ended."""
        from optuna.trial import TrialState as Told

        space = self.asked.space
        config = space.config({r.name: _suggest(trial, r) for r in space.ranges})
        self._write("searching", at_work=trial.number)
        run = RunFolder(self.runs / self._run_name(trial.number))
        state, reason = self._train(run, config, trial)
        loss, facts = _kept_loss(run), _facts(run, reason)
        trial.set_user_attr("facts", facts)
        if state == "finished" and loss is None:
            state = "failed"
        if state == "finished":
            # Early stopping ended it: to later trials it is at every later epoch where it is now.
            self._report(trial, loss, facts["epochs"] + 1, self.n_epochs)
            self.study.tell(trial, loss)
        elif state != "open":
            self.study.tell(trial, state=Told.PRUNED if state == "pruned" else Told.FAIL)
        self._write("searching")
        return self._read(self._frozen()[trial.number])

    def _train(self, run: RunFolder, config: RunConfig, trial: optuna.Trial) -> tuple[TrialState, str]:
        """How the run of a trial ended, and why."""
        mark = {"search": {"name": self.name, "trial": trial.number + 1}}
        if not (run.folder / "config.json").exists():
            start_run(self.cohort, run.folder, config, chosen=True, extra=mark)
        elif run.about().get("search") != mark["search"]:
            raise RunError(f"{run.folder}: holds a run that is no trial of this search; choose another --out")
        if run.status().state == "finished":  # a kill came between the end of the run and the note of it
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
            return "pruned", self._tell_why(run, "worse than half of the earlier trials at this point")
        if run.status().state == "finished":
            return "finished", ""
        if beaten:
            # Its loss is known, and the weights it was found with are kept.
            self._tell_why(run, "an earlier trial was better, so its final refit was left out")
            return "finished", ""
        return "open", ""

    def _is_hopeless(self, trial: optuna.Trial, run: RunFolder, epoch: EpochEnd) -> bool:
        """Whether to end a trial early: never the first one, which all are held against, nor one about to end."""
        self._report(trial, _kept_loss(run), epoch.epoch, epoch.epoch)
        return trial.number > 0 and not epoch.final_refit and epoch.epoch < epoch.n_epochs and trial.should_prune()

    def _is_beaten(self, run: RunFolder) -> bool:
        """Whether an earlier trial has a lower loss; only the best trial gets a final refit, which doubles its time."""
        best, loss = best_of([self._read(trial) for trial in self._frozen()]), _kept_loss(run)
        return best is not None and best.loss is not None and loss is not None and best.loss <= loss

    def _report(self, trial: optuna.Trial, loss: float | None, first: int, last: int) -> None:
        """Tell the study where a trial is after the epochs from first to last; what it knows already stays."""
        known = self._frozen()[trial.number].intermediate_values
        for step in range(first, last + 1):
            if loss is not None and step not in known:  # a resumed trial repeats its latest epochs
                trial.report(loss, step)

    def _tell_why(self, run: RunFolder, why: str) -> str:
        """Say in the run folder of a trial what its stop was about."""
        reason = f"ended early by the search {self.name}: {why}"
        write_json(run.folder / "result.json", (run.result() or {}) | {"reason": reason})
        return reason

    @contextmanager
    def _watched(self, run: RunFolder) -> Iterator[None]:
        """Pass the end of the time, or a stop request, on to the run under way, in the middle of an epoch too."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                if self.folder.stop_requested() or time.monotonic() >= self.until:
                    run.request_stop()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    # ---- what is written -----------------------------------------------------------------------------------------

    def _write(self, state: SearchState, at_work: int | None = None) -> None:
        trials = [self._read(frozen, at_work) for frozen in self._frozen()]
        best = best_of(trials)
        arguments = [] if best is None else self.asked.arguments(self._config(self._frozen()[best.number - 1]))
        write_json(self.folder.folder / FILE, self.about | _state(state, self.limits) | found(trials, arguments))

    def _read(self, frozen: optuna.trial.FrozenTrial, at_work: int | None = None) -> Trial:
        """A trial as the study remembers it, and its run folder where it is still open."""
        states: dict[str, TrialState] = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
        state = states.get(frozen.state.name, "training" if frozen.number == at_work else "open")
        run = RunFolder(self.runs / self._run_name(frozen.number))
        facts = frozen.user_attrs["facts"] if frozen.state.is_finished() else _facts(run, "")
        return Trial(
            number=frozen.number + 1,
            run=self._run_name(frozen.number),
            state=state,
            settings=differences(self._config(frozen), self.asked.config),
            **facts,
        )

    def _config(self, frozen: optuna.trial.FrozenTrial) -> RunConfig:
        # A kill may have come before all values of a trial were drawn.
        return self.asked.space.config({r.name: frozen.params.get(r.name, r.now) for r in self.asked.space.ranges})

    def _run_name(self, number: int) -> str:
        return f"{self.name}-{number + 1:02d}"

    def _frozen(self) -> list[optuna.trial.FrozenTrial]:
        """All trials that have begun."""
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.name != "WAITING"]


def _suggest(trial: optuna.Trial, r: Range) -> int | float:
    if r.is_whole:
        return trial.suggest_int(r.name, int(r.low), int(r.high), step=r.step, log=r.log)
    return trial.suggest_float(r.name, r.low, r.high, log=r.log)


def _kept_loss(run: RunFolder) -> float | None:
    """The validation loss of the weights that a run keeps: of its latest epoch that was the best so far."""
    best = [epoch.valid_loss for epoch in run.status().epochs if epoch.best]
    return best[-1] if best else None


def _facts(run: RunFolder, reason: str) -> dict[str, Any]:
    """What of a run stays in the memory of the search, whatever becomes of its folder."""
    if not (run.folder / "config.json").exists():
        return {"loss": None, "epochs": 0, "seconds": 0.0, "reason": reason}
    status = run.status()
    return {"loss": _kept_loss(run), "epochs": len(status.epochs), "seconds": status.seconds, "reason": reason}
