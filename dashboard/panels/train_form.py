"""The settings of a training as widgets, and what they make: options of the `train` command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from crm_models import workflow
from crm_models.core.config import RunConfig
from crm_models.core.presets import preset
from crm_models.core.schema import PRESET_NAMES

PRESETS = {
    "paper": "The paper as it is read: tiny models, one update per epoch, ten epochs. Takes seconds; learns little.",
    "standard": "What works: validation loss decides when to stop, mini-batches, an ensemble for churn. Takes minutes.",
    "strong": "A wider sequence model, three churn models averaged, longer histories. Takes several times as long.",
}
MODELS = {"both": "Both", "sequence": "Sequence (next actions)", "churn": "Churn (risk)"}
MAX_EPOCHS = 500


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting on the screen. path: as in `--set`; low, high, step: of a number; choices: of a closed set."""

    path: str
    label: str
    help: str
    low: float = 0
    high: float = 0
    step: float = 1
    choices: tuple[str, ...] = ()


SEQUENCE = (
    Setting(
        path="sequence.d_model", label="Width", help="Numbers per event inside the model.", low=8, high=512, step=8
    ),
    Setting(path="sequence.n_blocks", label="Blocks", help="Attention layers on top of each other.", low=1, high=8),
    Setting(path="sequence.n_heads", label="Heads", help="Parallel attentions; must divide the width.", low=1, high=16),
    Setting(
        path="sequence.d_feedforward", label="Feed-forward width", help="Inside each block.", low=8, high=2048, step=8
    ),
    Setting(
        path="sequence.max_events", label="Events seen", help="The most recent events that count.", low=1, high=500
    ),
    Setting(path="sequence.dropout", label="Dropout", help="Share switched off while learning.", high=0.8, step=0.05),
    Setting(path="sequence.use_profile", label="Uses the profile", help="Customer features beside the history."),
    Setting(path="sequence.use_time", label="Uses time gaps", help="Time between events."),
    Setting(path="sequence.use_value", label="Uses values", help="Ratings or amounts."),
    Setting(path="sequence.use_action_features", label="Uses action features", help="Category, rating, sentiment, ..."),
    Setting(
        path="sequence.use_transition_prior",
        label="Starts from follow-ups",
        help="Scores start from what usually follows the last action; the model learns what differs.",
    ),
    Setting(
        path="sequence.use_repeat_bias",
        label="Repeat bias",
        help="Actions already in the history become more or less likely: bought again, or never seen twice.",
    ),
)
CHURN = (
    Setting(path="churn.d_model", label="Width", help="Numbers per feature or event.", low=8, high=512, step=8),
    Setting(path="churn.n_blocks", label="Blocks", help="Attention layers on top of each other.", low=1, high=8),
    Setting(path="churn.n_heads", label="Heads", help="Parallel attentions; must divide the width.", low=1, high=16),
    Setting(
        path="churn.d_feedforward", label="Feed-forward width", help="Inside each block.", low=8, high=2048, step=8
    ),
    Setting(path="churn.n_members", label="Ensemble members", help="Inside one model; 1: none.", low=1, high=16),
    Setting(path="churn.ensemble_size", label="Models", help="Whole models, averaged; each takes time.", low=1, high=8),
    Setting(path="churn.max_events", label="Events seen", help="0: profile and behaviour only.", low=0, high=500),
    Setting(path="churn.dropout", label="Dropout", help="Share switched off while learning.", high=0.8, step=0.05),
    Setting(
        path="churn.use_behaviour", label="Uses behaviour", help="Recency, frequency, monetary value and their kin."
    ),
)
_LEARNING = (
    Setting(path="learning_rate", label="Learning rate", help="Size of an update.", low=1e-5, high=0.1, step=1e-4),
    Setting(
        path="muon_lr_scale",
        label="Muon learning rate",
        help="For the matrices inside the blocks, as a multiple of Adam's learning rate. 0: Adam for all weights.",
        high=20.0,
        step=0.5,
    ),
    Setting(path="weight_decay", label="Weight decay", help="Pull of the weights towards zero.", high=1.0, step=1e-3),
    Setting(
        path="patience_epochs", label="Patience", help="Epochs without a better loss before stopping.", low=1, high=100
    ),
    Setting(
        path="average_weights",
        label="Weight averaging",
        help="Decay of the moving average of the weights, which is what is validated and kept. 0: no average.",
        high=0.9999,
        step=0.01,
    ),
    Setting(path="monitor", label="Stops by", help="Which loss decides.", choices=("valid", "train")),
    Setting(path="schedule", label="Schedule", help="How the learning rate moves.", choices=("one-cycle", "constant")),
    Setting(
        path="short_phase_share",
        label="Short phase",
        help="Share of the epochs tried first, without pre-training. If they are enough, training ends there.",
        high=0.9,
        step=0.05,
    ),
)


_PRETRAINING = Setting(
    path="pretraining_share",
    label="Pre-training",
    help="Share of the epochs that first learn who fell silent at an earlier date, where churn is inactivity.",
    high=0.9,
    step=0.05,
)
_FINAL_REFIT = Setting(
    path="final_refit",
    label="Final refit",
    help="At the end, the best phase is repeated on training and validation customers; not after pre-training.",
)


def learning(model: str) -> tuple[Setting, ...]:
    """How one of the models is fitted; the presets set it for each by itself."""
    own = (*_LEARNING, _PRETRAINING, _FINAL_REFIT) if model == "churn" else _LEARNING
    return tuple(replace(setting, path=f"{model}_training.{setting.path}") for setting in own)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the viewer set. config: the whole configuration; arguments: the same as options of `train`."""

    config: RunConfig
    arguments: list[str]
    about: str
    name: str


def training_form() -> Wanted:
    """Draw the settings; `ConfigError` where they do not go together."""
    name = st.radio(
        "Preset",
        PRESET_NAMES,
        index=PRESET_NAMES.index("standard"),
        horizontal=True,
        key="train_preset",
        persist_state="session",
    )
    base = preset(name)
    st.caption(PRESETS[name])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.selectbox(
            "Models",
            list(MODELS),
            format_func=MODELS.__getitem__,
            key="train_models",
            persist_state="session",
            width=210,
        )
        epochs = st.number_input(
            "Epochs at most",
            min_value=1,
            max_value=MAX_EPOCHS,
            value=None,
            placeholder=_own_epochs(base, model),
            key=f"train_epochs_{name}",
            persist_state="session",
            help="One epoch is one pass over all training customers; early stopping may end sooner. Left empty, the "
            "preset decides, for each model by itself.",
            width=180,
        )
        seed = st.number_input(
            "Seed",
            min_value=0,
            max_value=2**32 - 1,
            value=0,
            key="train_seed",
            persist_state="session",
            help="Same seed, same numbers.",
            width=140,
        )
        run_name = st.text_input(
            "Name",
            key="train_name",
            placeholder="automatic",
            max_chars=48,
            help="How the run is listed.",
            width=180,
        )
    changed = _more_settings(name, base)
    arguments = ["--preset", name, "--model", model, "--seed", str(int(seed))]
    wanted = None if epochs is None else int(epochs)
    if wanted is not None:
        arguments += ["--epochs", str(wanted)]
    for path, value in changed.items():
        arguments += ["--set", f"{path}={_text(value)}"]
    config = workflow.run_config(
        preset=name,
        model=model,
        epochs=wanted,
        seed=int(seed),
        settings=[f"{path}={_text(value)}" for path, value in changed.items()],
    )
    about = f"{name} preset" + (f", {len(changed)} setting{'s' if len(changed) > 1 else ''} changed" if changed else "")
    return Wanted(config=config, arguments=arguments, about=about, name=run_name)


def _own_epochs(base: RunConfig, model: str) -> str:
    """What the preset sets for the models that are trained: "30", or "30 and 50" where they differ."""
    trained = [name for name in base.models if model in ("both", name)]
    return " and ".join(dict.fromkeys(str(base.training(name).n_epochs) for name in trained))


def _more_settings(name: str, base: RunConfig) -> dict[str, Any]:
    """The folded settings; only those that differ from the preset come back, by their path."""
    changed: dict[str, Any] = {}
    with st.expander("More settings", icon=":material/tune:"):
        st.caption("What the preset sets is filled in. Change one thing at a time, and compare the runs below.")
        for heading, model, own in (
            ("Sequence Transformer", "sequence", SEQUENCE),
            ("Churn Transformer", "churn", CHURN),
        ):
            for title, settings in ((f"**{heading}**", own), (f"{heading}: how it learns", learning(model))):
                st.markdown(title)
                with st.grid(4):
                    for setting in settings:
                        part, field = setting.path.split(".")
                        now = getattr(getattr(base, part), field)
                        value = _widget(setting, now, key=f"set_{name}_{setting.path}")
                        if value != now:
                            changed[setting.path] = value
    return changed


def _widget(setting: Setting, now: Any, *, key: str) -> Any:
    keep: dict[str, Any] = {"key": key, "help": setting.help, "persist_state": "session"}
    if setting.choices:
        return st.selectbox(setting.label, setting.choices, index=setting.choices.index(now), **keep)
    if isinstance(now, bool):
        return st.checkbox(setting.label, value=now, **keep)
    kind = int if isinstance(now, int) else float
    form = None if kind is int else "%.5f" if setting.step < 1e-2 else "%.2f"
    return st.number_input(
        setting.label,
        min_value=kind(setting.low),
        max_value=kind(setting.high),
        value=now,
        step=kind(setting.step),
        format=form,
        **keep,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
