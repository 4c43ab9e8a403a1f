"""What each kind of context and each addition to the network gives: the sequence model without it, on several cohorts.

    python -m crm_models.bench.ablation COHORT ... [--seeds 1] [--epochs E]

Prints a Markdown table of losses per step (nats) and HR@1 on held-out last events; lower and higher are better.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from crm_models.bench import quality
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort

PARTS = {
    "the profile": ("use_profile",),
    "features of actions": ("use_action_features",),
    "gaps": ("use_time",),
    "values": ("use_value",),
    "all context": ("use_profile", "use_action_features", "use_time", "use_value"),
    "the transition prior": ("use_transition_prior",),
    "the repeat bias": ("use_repeat_bias",),
    "rotary positions": ("rotary_positions",),
}
"""Settings that are switched off together, by what they are; without rotary positions, places are counted instead."""


def scored(cohort: Cohort, off: tuple[str, ...], seeds: int, epochs: int | None) -> tuple[float, float]:
    """Loss and HR@1, means over seeds, without the settings `off`."""
    settings = [f"sequence.{name}=false" for name in off]
    rows = []
    for seed in range(seeds):
        config = quality.configured("sequence", seed, settings)
        if epochs is not None:
            config = replace(config, sequence_training=replace(config.sequence_training, n_epochs=epochs))
        told = quality.sequence(cohort, config, early_stopping=epochs is None)
        rows.append((told["loss"], told["hr_at_1"]))
    loss, hits = np.mean(rows, axis=0)
    return float(loss), float(hits)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args()
    cohorts = [load_cohort(folder) for folder in args.cohorts]
    print("| left out | " + " | ".join(folder.name for folder in args.cohorts) + " |")
    print("|---|" + "---|" * len(cohorts))
    for name, off in {"nothing": (), **PARTS}.items():
        scores = [scored(cohort, off, args.seeds, args.epochs) for cohort in cohorts]
        print(f"| {name} | " + " | ".join(f"{loss:.3f}, {hits:.3f}" for loss, hits in scores) + " |", flush=True)


if __name__ == "__main__":
    main()
