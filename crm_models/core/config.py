"""Settings of models, training and runs: frozen dataclasses, validated on creation."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from crm_models.core.errors import ConfigError
from crm_models.core.schema import PRESET_NAMES, ModelName, PresetName

Monitor = Literal["train", "valid", "last"]
Schedule = Literal["constant", "one-cycle"]
NumericEmbedding = Literal["linear", "piecewise"]
Device = Literal["auto", "cpu", "cuda"]
SplitKind = Literal["random", "time"]
GapUnit = Literal["minute", "day"]

WIDEST, MOST_PARTS, MOST_EVENTS, MOST_THREADS = 16_384, 512, 100_000, 4_096
"""Upper limits of widths, of blocks, members and bins, of events in a history, and of threads: beyond, a slip."""


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """Architecture and inputs of the Sequence Transformer; the defaults are those of `standard`."""

    d_model: int = 64  # width; n_heads must divide it
    n_heads: int = 2
    n_blocks: int = 2
    d_feedforward: int = 256
    dropout: float = 0.1
    norm_first: bool = True  # pre-norm; False: post-norm, as in the paper
    max_events: int = 50  # the model sees this many most recent events of a history
    rotary_positions: bool = True  # attention sees distances between events; False: places counted from the start
    gap_unit: GapUnit = "minute"  # gaps are log(1 + units), so gaps much shorter than a unit look alike
    use_profile: bool = True  # customer features (equation 8's second argument)
    use_action_features: bool = True  # product features: rating, category, sentiment, ...
    use_time: bool = True  # gaps between events
    use_value: bool = True  # ratings, amounts
    use_transition_prior: bool = True  # add counted transitions from the last action to the logits
    use_repeat_bias: bool = True  # add a learned bias to the logits of actions already in the history
    tie_weights: bool = True  # the output layer shares the weights of the action embedding

    def __post_init__(self) -> None:
        _check_shape(self.d_model, self.n_heads, self.n_blocks, self.d_feedforward, self.dropout)
        _within("max_events", self.max_events, 1, MOST_EVENTS)
        one_of("gap_unit", self.gap_unit, ("minute", "day"))


@dataclass(frozen=True, kw_only=True)
class ChurnConfig:
    """Architecture and inputs of the Churn Transformer; the defaults are those of `standard`."""

    d_model: int = 48
    n_heads: int = 2
    n_blocks: int = 1  # a second one takes twice the time and was not better; a wider one was
    d_feedforward: int = 96
    n_members: int = 4  # BatchEnsemble members within one model; they share most weights
    dropout: float = 0.0  # ensemble members and early stopping already limit overfitting
    norm_first: bool = True
    max_events: int = 30  # 0: profile and behaviour features only
    numeric_embedding: NumericEmbedding = "piecewise"
    n_bins: int = 8  # quantile bins of a piecewise-linear embedding
    use_behaviour: bool = True  # behaviour features (RFM and others) from the history
    use_additive: bool = True  # an additive model of the features votes as one more member

    def __post_init__(self) -> None:
        _check_shape(self.d_model, self.n_heads, self.n_blocks, self.d_feedforward, self.dropout)
        _within("n_members", self.n_members, 1, MOST_PARTS)
        _within("max_events", self.max_events, 0, MOST_EVENTS)
        _within("n_bins", self.n_bins, 2, MOST_PARTS)
        one_of("numeric_embedding", self.numeric_embedding, ("linear", "piecewise"))


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Training settings of one model; both models use the same training loop."""

    n_epochs: int = 30
    batch_size: int | None = 128  # customers per update; None: all (full batch), as in the paper
    min_updates_per_epoch: int = 1  # with few customers, batches get smaller, down to 16 customers
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2  # decoupled (AdamW) unless `l2_in_loss`
    l2_in_loss: bool = False  # L2 in the loss, L + lambda * ||theta||^2, on all weights with Adam (Paper, equation 9)
    muon_lr_scale: float = 3.0  # Muon learning rate (matrices of the blocks) relative to learning_rate; 0: no Muon
    schedule: Schedule = "one-cycle"
    monitor: Monitor = "valid"  # loss that decides early stopping and best weights; last: every epoch is the best
    patience_epochs: int = 6
    average_weights: float = 0.0  # decay per update of the moving average of the weights; 0: no average
    all_positions: bool = True  # sequence: every event is a target; False: only the three outcome steps
    context_dropout: float = 0.3  # sequence: share of events with gap and value hidden in training
    final_refit: bool = False  # churn: at the end, repeat the best epochs on training + validation customers

    def __post_init__(self) -> None:
        _within("n_epochs", self.n_epochs, 1)
        _within("patience_epochs", self.patience_epochs, 1)
        _within("min_updates_per_epoch", self.min_updates_per_epoch, 1)
        if self.batch_size is not None:
            _within("batch_size", self.batch_size, 1)
        if not 0 < self.learning_rate < 10:
            raise ConfigError(f"learning_rate must lie between 0 and 10, found {self.learning_rate}")
        if not 0 <= self.weight_decay < 10:
            raise ConfigError(f"weight_decay must lie between 0 and 10, found {self.weight_decay}")
        if not 0 <= self.muon_lr_scale < 100:
            raise ConfigError(f"muon_lr_scale must lie between 0 and 100, found {self.muon_lr_scale}")
        if not 0 <= self.average_weights < 1:
            raise ConfigError(f"average_weights must lie in [0, 1), found {self.average_weights}")
        one_of("schedule", self.schedule, ("constant", "one-cycle"))
        one_of("monitor", self.monitor, ("train", "valid", "last"))

    @property
    def most_epochs(self) -> int:
        """Number of epochs without early stopping; a final refit takes at most as many as the phase it repeats."""
        return 2 * self.n_epochs if self.final_refit else self.n_epochs


MIN_UPDATES = 32
"""Minimum updates per epoch in `standard` and `strong`: a few hundred customers in batches of 128 give too few."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run; with the cohort, they determine its results."""

    preset: PresetName = "standard"
    models: tuple[ModelName, ...] = ("sequence", "churn")
    seed: int = 0
    split_seed: int | None = None  # of the split of customers; None: seed
    test_share: float = 0.2
    valid_share: float = 0.15
    split: SplitKind = "random"  # time: learn from what was known by split_date, test on what came from then on
    split_date: str = ""  # "": the cohort's cut-off, or else where the last test_share of the events begins
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    churn: ChurnConfig = field(default_factory=ChurnConfig)
    sequence_training: TrainingConfig = field(default_factory=lambda: TrainingConfig(min_updates_per_epoch=MIN_UPDATES))
    churn_training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            n_epochs=50,
            learning_rate=2e-3,
            patience_epochs=6,
            average_weights=0.99,
            batch_size=256,
            min_updates_per_epoch=MIN_UPDATES // 2,
            final_refit=True,
        )
    )
    device: Device = "auto"
    threads: int | None = None  # None: PyTorch's default
    deterministic: bool = False  # on a GPU: the same numbers each time to the last digit; a processor always does that

    def __post_init__(self) -> None:
        one_of("preset", self.preset, PRESET_NAMES)
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        one_of("split", self.split, ("random", "time"))
        if self.split_date and self.split == "random":
            raise ConfigError(f"split_date {self.split_date} needs split=time; found the random split")
        if not self.models or any(m not in ("sequence", "churn") for m in self.models):
            raise ConfigError(f"models must name sequence, churn or both, found {self.models!r}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must lie between 0 and {2**32 - 1}, found {self.seed}")
        if not (0 < self.test_share < 1 and 0 <= self.valid_share < 1 - self.test_share):
            raise ConfigError(
                f"test_share {self.test_share} and valid_share {self.valid_share} leave nothing to train on"
            )
        if self.threads is not None:
            _within("threads", self.threads, 1, MOST_THREADS)
        if self.sequence_training.final_refit:
            # The transition prior is counted on training customers, leaving out the predicted event.
            raise ConfigError("final_refit is for the churn model; expected sequence_training.final_refit to be false")

    def training(self, model: ModelName) -> TrainingConfig:
        """Training settings of the named model."""
        return self.sequence_training if model == "sequence" else self.churn_training

    def with_epochs(self, n_epochs: int) -> RunConfig:
        """The configuration with another number of epochs for both models."""
        return replace(
            self,
            sequence_training=replace(self.sequence_training, n_epochs=n_epochs),
            churn_training=replace(self.churn_training, n_epochs=n_epochs),
        )

    def with_setting(self, setting: str) -> RunConfig:
        """The configuration with one setting changed, as in `sequence.d_model=32`; the type stays that of the value."""
        match = re.fullmatch(r"(?:(\w+)\.)?(\w+)=(.*)", setting)
        if match is None:
            raise ConfigError(f"--set expects NAME=VALUE, as in sequence.d_model=32; found {setting!r}")
        part, name, text = match.groups()
        name = EARLIER_NAMES.get(name, name)
        if name in REMOVED:
            if _typed(text, REMOVED[name], setting) != REMOVED[name]:
                raise ConfigError(f"--set {setting}: {name} was removed; expected {REMOVED[name]!r} or nothing")
            return self
        owner: Any = self if part is None else getattr(self, part, None)
        known = (
            {f.name for f in fields(owner) if not is_dataclass(getattr(owner, f.name))} if is_dataclass(owner) else ()
        )
        if name not in known or (part is None and name in ("models", "preset")):
            raise ConfigError(f"--set: there is no setting {setting.partition('=')[0]!r}")
        changed: Any = replace(owner, **{name: _typed(text, getattr(owner, name), setting)})
        parts_of: dict[str, Any] = {} if part is None else {part: changed}
        return changed if part is None else replace(self, **parts_of)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the inverse of `from_dict`."""
        return asdict(self) | {"models": list(self.models)}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> RunConfig:
        """A configuration from plain values. Raises `ConfigError` for an unknown setting."""
        parts = {
            "sequence": SequenceConfig,
            "churn": ChurnConfig,
            "sequence_training": TrainingConfig,
            "churn_training": TrainingConfig,
        }
        values = {
            k: _from_dict(parts[k], _DEFAULTS_OF_OLDER_FILES.get(k, {}) | _with_current_names(v)) if k in parts else v
            for k, v in given.items()
        }
        if "models" in values:
            values["models"] = tuple(values["models"])
        return _from_dict(cls, values)


def _typed(text: str, old: Any, setting: str) -> Any:
    if text.lower() == "none":
        return None
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, int) or old is None:
            return int(text)
        return float(text) if isinstance(old, float) else text
    except (KeyError, ValueError):
        kind = (
            "true or false" if isinstance(old, bool) else "a whole number" if not isinstance(old, float) else "a number"
        )
        raise ConfigError(f"--set {setting}: expected {kind}, found {text!r}") from None


def _check_shape(d_model: int, n_heads: int, n_blocks: int, d_feedforward: int, dropout: float) -> None:
    _within("n_heads", n_heads, 1, WIDEST)
    _within("n_blocks", n_blocks, 1, MOST_PARTS)
    _within("d_feedforward", d_feedforward, 1, WIDEST)
    _within("d_model", d_model, 2, WIDEST)
    if d_model % n_heads:
        raise ConfigError(f"d_model={d_model} is not a multiple of n_heads={n_heads}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must lie in [0, 1), found {dropout}")


def _within(name: str, value: int, least: int, most: int = 2**31 - 1) -> None:
    if not isinstance(value, int):
        raise ConfigError(f"{name} must be a whole number, found {value!r}")
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, found {value}")
    if value > most:
        raise ConfigError(f"{name} must be at most {most:,}, found {value:,}")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless the value is one of `allowed`."""
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}; found {value!r}")


EARLIER_NAMES = {
    "use_follow_ups": "use_transition_prior",
    "use_repeats": "use_repeat_bias",
    "n_copies": "ensemble_size",
    "least_updates": "min_updates_per_epoch",
    "muon_stretch": "muon_lr_scale",
    "hide_context": "context_dropout",
    "rehearsal_share": "pretraining_share",
    "short_share": "short_phase_share",
    "refit": "final_refit",
}
"""Earlier names of settings, still accepted in old runs and by `--set`."""

REMOVED: dict[str, Any] = {
    "ensemble_size": 1,
    "calibrate": False,
    "pretraining_share": 0.0,
    "short_phase_share": 0.0,
}
"""Settings of earlier versions that were removed (see TRIED.md), and the value that trains as is done now."""

_DEFAULTS_OF_OLDER_FILES: dict[str, dict[str, Any]] = {
    "sequence": {"use_repeat_bias": False, "rotary_positions": False, "gap_unit": "day"},
    "sequence_training": {"muon_lr_scale": 0.0},
    "churn": {"use_additive": False},
    "churn_training": {"muon_lr_scale": 0.0, "final_refit": False},
}
"""Defaults for settings absent from older config files, whose models were trained without them."""


def _with_current_names(given: dict[str, Any]) -> dict[str, Any]:
    named = {EARLIER_NAMES.get(name, name): value for name, value in given.items()}
    return {name: value for name, value in named.items() if name not in REMOVED}


def _from_dict(cls: type, given: dict[str, Any]) -> Any:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r}; {cls.__name__} knows {', '.join(sorted(known))}")
    return cls(**given)
