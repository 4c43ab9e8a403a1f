"""What each kind of context and each addition to the network gives: the sequence model without it, on several cohorts.

    python -m crm_models.bench.ablation COHORT ... [--seeds 1] [--epochs E]

Prints a Markdown table of losses per step (nats) and HR@1 on held-out last events; lower and higher are better. After
the semicolon: loss and HR@10 where the last event is one of the half of the actions that training saw least.
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


SCORES = ("loss", "hr_at_1", "rare_loss", "rare_hr_at_10")


def scored(cohort: Cohort, off: tuple[str, ...], seeds: int, epochs: int | None) -> list[float]:
    """The scores of `SCORES`, means over seeds, without the settings `off`; NaN where no rare action was held out."""
    settings = [f"sequence.{name}=false" for name in off]
    rows = []
    for seed in range(seeds):
        config = quality.configured("sequence", seed, settings)
        if epochs is not None:
            config = replace(config, sequence_training=replace(config.sequence_training, n_epochs=epochs))
        told = quality.sequence(cohort, config, early_stopping=epochs is None)
        rows.append([told.get(name, np.nan) for name in SCORES])
    return np.mean(rows, axis=0).tolist()


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", choices=tuple(PARTS), action="append", help="a part to leave out (default: each one)")
    args = parser.parse_args()
    cohorts = [load_cohort(folder) for folder in args.cohorts]
    print("| left out | " + " | ".join(folder.name for folder in args.cohorts) + " |")
    print("|---|" + "---|" * len(cohorts))
    left_out = {name: PARTS[name] for name in args.only or PARTS}
    for name, off in {"nothing": (), **left_out}.items():
        scores = [scored(cohort, off, args.seeds, args.epochs) for cohort in cohorts]
        print(
            f"| {name} | " + " | ".join("{:.3f}, {:.3f}; {:.3f}, {:.3f}".format(*row) for row in scores) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
