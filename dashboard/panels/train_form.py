"""Form for the settings of a training; it returns them as options of the `train` command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from crm_models import workflow
from crm_models.core.config import RunConfig
from crm_models.core.presets import preset
from crm_models.core.schema import PRESET_NAMES, ModelName
from dashboard.panels import time_split

PRESETS = {
    "paper": "As in the paper: small models, one update per epoch, ten epochs. Takes seconds and learns little.",
    "standard": "Recommended: mini-batches, early stopping on the validation loss, a churn ensemble. Takes minutes.",
    "strong": "Wider sequence model, longer histories, more epochs. Takes several times as long.",
    "large": "For a GPU and long histories: four blocks, 200 events. On a processor it takes hours.",
}
MODELS = {"both": "Both", "sequence": "Sequence (next actions)", "churn": "Churn (risk)"}
BUTTONS = {"both": "Train both models", "sequence": "Train the sequence model", "churn": "Train the churn model"}
"""What the button says, by the choice of models."""
SEED = "train_seed"
MAX_EPOCHS = 500


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting in the form. path: as in `--set`; low, high, step: range of a number; choices: allowed values."""

    path: str
    label: str
    help: str
    low: float = 0
    high: float = 0
    step: float = 1
    choices: tuple[str, ...] = ()


def _shape(model: str, inputs: str) -> tuple[Setting, ...]:
    """The settings that both models have. inputs: what the model reads, in words."""
    vector, heads = f"Size of the vector for each {inputs}.", "Parallel attention heads. Must divide the width."
    return (
        Setting(path=f"{model}.d_model", label="Width", help=vector, low=8, high=512, step=8),
        Setting(path=f"{model}.n_blocks", label="Blocks", help="Number of stacked attention layers.", low=1, high=8),
        Setting(path=f"{model}.n_heads", label="Heads", help=heads, low=1, high=16),
        Setting(
            path=f"{model}.d_feedforward",
            label="Feed-forward width",
            help="Width of the feed-forward layer in each block.",
            low=8,
            high=2048,
            step=8,
        ),
    )


SEQUENCE = (
    *_shape("sequence", "event"),
    Setting(
        path="sequence.max_events",
        label="Events seen",
        help="Number of most recent events that the model uses.",
        low=1,
        high=500,
    ),
    Setting(
        path="sequence.dropout", label="Dropout", help="Share of units disabled during training.", high=0.8, step=0.05
    ),
    Setting(path="sequence.use_profile", label="Use profile", help="Customer features in addition to the history."),
    Setting(path="sequence.use_time", label="Use time gaps", help="Time between events."),
    Setting(path="sequence.use_value", label="Use values", help="Ratings or amounts."),
    Setting(path="sequence.use_action_features", label="Use action features", help="Category, rating, sentiment, ..."),
    Setting(
        path="sequence.use_transition_prior",
        label="Transition prior",
        help="Scores start from what usually follows the last action. The model learns the difference.",
    ),
    Setting(
        path="sequence.use_repeat_bias",
        label="Repeat bias",
        help="Makes actions in the history more or less likely, for repeat purchases or things done only once.",
    ),
)
CHURN = (
    *_shape("churn", "feature or event"),
    Setting(
        path="churn.n_members",
        label="Ensemble members",
        help="Members inside one model. 1: no ensemble.",
        low=1,
        high=16,
    ),
    Setting(path="churn.max_events", label="Events seen", help="0: profile and behaviour only.", low=0, high=500),
    Setting(
        path="churn.dropout", label="Dropout", help="Share of units disabled during training.", high=0.8, step=0.05
    ),
    Setting(path="churn.use_behaviour", label="Use behaviour", help="Recency, frequency, monetary value and similar."),
    Setting(path="churn.use_additive", label="Additive model", help="A sum of one term per feature votes as a member."),
)
_LEARNING = (
    Setting(
        path="learning_rate", label="Learning rate", help="Step size of each update.", low=1e-5, high=0.1, step=1e-4
    ),
    Setting(
        path="muon_lr_scale",
        label="Muon learning rate",
        help="For the matrices inside the blocks, as a multiple of Adam's learning rate. 0: Adam for all weights.",
        high=20.0,
        step=0.5,
    ),
    Setting(
        path="weight_decay",
        label="Weight decay",
        help="How strongly weights are pulled towards zero.",
        high=1.0,
        step=1e-3,
    ),
    Setting(
        path="patience_epochs",
        label="Patience",
        help="Epochs without improvement before training stops.",
        low=1,
        high=100,
    ),
    Setting(
        path="average_weights",
        label="Weight averaging",
        help="Decay of the moving average of the weights. The average is validated and kept. 0: off.",
        high=0.9999,
        step=0.01,
    ),
    Setting(
        path="monitor", label="Early stopping on", help="Loss that decides when to stop.", choices=("valid", "train")
    ),
    Setting(
        path="schedule",
        label="Schedule",
        help="How the learning rate changes during training.",
        choices=("one-cycle", "constant"),
    ),
)


_FINAL_REFIT = Setting(
    path="final_refit",
    label="Final refit",
    help="Repeats the best epochs on training and validation customers together at the end.",
)


EPOCHS = "Epochs at most"


def label_of(path: str) -> str:
    """A setting in the words of the form: "Width, sequence model" for `sequence.d_model`."""
    part, _, field = path.partition(".")
    model, _, training = part.partition("_")
    form = {"sequence": SEQUENCE, "churn": CHURN}.get(model, ())
    known = {setting.path: setting.label for setting in (*form, *learning(model))}
    words = EPOCHS if field == "n_epochs" else known.get(path, (field or part).replace("_", " ").capitalize())
    return f"{words}, {model} model{' (training)' if training else ''}" if field else words


def learning(model: str) -> tuple[Setting, ...]:
    """Training settings of one model; the presets set them per model."""
    settings = (*_LEARNING, _FINAL_REFIT) if model == "churn" else _LEARNING
    return tuple(replace(setting, path=f"{model}_training.{setting.path}") for setting in settings)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Settings from the form. config: the complete configuration; arguments: the same as options of `train`.

    button: what the button says that starts it.
    """

    config: RunConfig
    arguments: list[str]
    about: str
    name: str
    button: str


def seed() -> int:
    """The seed in the form, also before it is drawn."""
    return int(st.session_state.get(SEED) or 0)


def button_label(models: Sequence[ModelName]) -> str:
    """What the button says that trains these models."""
    return BUTTONS["both" if len(models) != 1 else models[0]]


def training_form(possible: Sequence[ModelName]) -> Wanted:
    """Draw the form and return its settings. Raises `ConfigError` if they cannot be combined.

    possible: the models that the cohort can train; with only one, there is nothing to choose.
    """
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
        model: str = possible[0] if len(possible) == 1 else "both"
        if len(possible) > 1:
            model = st.selectbox(
                "Models",
                list(MODELS),
                format_func=MODELS.__getitem__,
                key="train_models",
                persist_state="session",
                width=210,
            )
        epochs = st.number_input(
            EPOCHS,
            min_value=1,
            max_value=MAX_EPOCHS,
            value=None,
            placeholder=_preset_epochs(base, model),
            key=f"train_epochs_{name}",
            persist_state="session",
            help="One epoch is one pass over all training customers. Early stopping may end sooner. If empty, the "
            "preset decides for each model.",
            width=180,
        )
        chosen_seed = st.number_input(
            "Seed",
            min_value=0,
            max_value=2**32 - 1,
            value=0,
            key=SEED,
            persist_state="session",
            help="The same seed gives the same results.",
            width=140,
        )
        split = time_split.choose()
        run_name = st.text_input(
            "Name",
            key="train_name",
            placeholder="automatic",
            max_chars=48,
            help="Name in the list of runs.",
            width=180,
        )
    changed = _more_settings(name, base)
    # Without --model the command trains all that the data allow, which is what the button says.
    arguments = ["--preset", name, *(["--model", model] if model != "both" else []), "--seed", str(int(chosen_seed))]
    arguments += split.arguments
    max_epochs = None if epochs is None else int(epochs)
    if max_epochs is not None:
        arguments += ["--epochs", str(max_epochs)]
    for path, value in changed.items():
        arguments += ["--set", f"{path}={_text(value)}"]
    config = workflow.run_config(
        preset=name,
        model=model,
        epochs=max_epochs,
        seed=int(chosen_seed),
        settings=[f"{path}={_text(value)}" for path, value in changed.items()],
        split=split.kind,
        split_date=split.date,
    )
    about = f"{name} preset" + (f", {len(changed)} setting{'s' if len(changed) > 1 else ''} changed" if changed else "")
    return Wanted(config=config, arguments=arguments, about=about, name=run_name, button=BUTTONS[model])


def _preset_epochs(base: RunConfig, model: str) -> str:
    """Epochs of the preset for the selected models: "30", or "30 and 50" if they differ."""
    trained = [name for name in base.models if model in ("both", name)]
    return " and ".join(dict.fromkeys(str(base.training(name).n_epochs) for name in trained))


def _more_settings(name: str, base: RunConfig) -> dict[str, Any]:
    """Draw the folded settings; return those that differ from the preset, by path."""
    changed: dict[str, Any] = {}
    with st.expander("More settings", icon=":material/tune:"):
        st.caption("The values are those of the preset. Change one at a time, and compare the runs below.")
        for heading, model, model_settings in (
            ("Sequence Transformer", "sequence", SEQUENCE),
            ("Churn Transformer", "churn", CHURN),
        ):
            for title, settings in ((f"**{heading}**", model_settings), (f"{heading}: training", learning(model))):
                st.markdown(title)
                with st.grid(4):
                    for setting in settings:
                        part, field = setting.path.split(".")
                        default = getattr(getattr(base, part), field)
                        value = _widget(setting, default, key=f"set_{name}_{setting.path}")
                        if value != default:
                            changed[setting.path] = value
    return changed


def _widget(setting: Setting, default: Any, *, key: str) -> Any:
    options: dict[str, Any] = {"key": key, "help": setting.help, "persist_state": "session"}
    if setting.choices:
        return st.selectbox(setting.label, setting.choices, index=setting.choices.index(default), **options)
    if isinstance(default, bool):
        return st.checkbox(setting.label, value=default, **options)
    kind = int if isinstance(default, int) else float
    number_format = None if kind is int else "%.5f" if setting.step < 1e-2 else "%.2f"
    return st.number_input(
        setting.label,
        min_value=kind(setting.low),
        max_value=kind(setting.high),
        value=default,
        step=kind(setting.step),
        format=number_format,
        **options,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
