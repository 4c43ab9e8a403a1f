"""`python -m tests.faults [--minutes M] [--seed K] [--only NAME]`: tries for so long, prints tried and failed."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

import streamlit.logger

from tests.faults.campaigns import CAMPAIGNS
from tests.faults.place import Tally, make_workspace


def tried(seconds: float, seed: int, names: list[str], workspace: Path, least: int = 1) -> dict[str, Tally]:
    """Run each campaign for an equal share of the time, and at least `least` tries; its tally by name."""
    tallies = {}
    for name in names:
        tallies[name] = tally = Tally()
        end, rng = time.monotonic() + seconds / len(names), random.Random(f"{seed} {name}")
        for _ in CAMPAIGNS[name](workspace, rng, tally):
            if time.monotonic() > end and tally.tried >= least:
                break
    return tallies


def main() -> int:
    """Print a line for each campaign and each failure; the exit status says whether something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(CAMPAIGNS))
    args = parser.parse_args()
    streamlit.logger.set_log_level("ERROR")
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_workspace(Path(folder))
        names = args.only or list(CAMPAIGNS)
        n_failed = 0
        for name in names:
            tally = tried(60 * args.minutes / len(names), args.seed, [name], workspace)[name]
            n_failed += len(tally.failed)
            print(f"{name:<14} {tally.tried:>6,} tried {len(tally.failed):>4,} failed", flush=True)
            for text in tally.failed[:20]:
                print(f"    {text}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
