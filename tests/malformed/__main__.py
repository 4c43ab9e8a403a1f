"""Damage exports at random, import each, and print how it ended."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from tests.malformed.trial import Trial, try_one


def main() -> int:
    """Run the tries; 1 if anything was misread in silence, broke, or left half a cohort."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="damages whose name has this word")
    parser.add_argument("--show", default="wrong", help="print the first examples of this ending")
    parser.add_argument("--examples", type=int, default=2)
    options = parser.parse_args()
    endings: dict[str, Counter[str]] = defaultdict(Counter)
    shown: Counter[str] = Counter()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="crm-malformed-") as folder:
        for k in range(options.tries):
            trial: Trial = try_one(np.random.default_rng([options.seed, k]), Path(folder) / str(k), options.only)
            total[trial.ending] += 1
            for name in trial.damages:
                endings[name][trial.ending] += 1
            key = " + ".join(trial.damages)
            if trial.ending == options.show and shown[key] < options.examples:
                shown[key] += 1
                print(f"[{k}] {key} ({trial.kind}): {trial.said}", flush=True)
    for name in sorted(endings):
        print(f"{name:<55} " + ", ".join(f"{n:,} {ending}" for ending, n in endings[name].most_common()))
    print(dict(total))
    return int(any(total[ending] for ending in ("wrong", "broken")))


if __name__ == "__main__":
    sys.exit(main())
