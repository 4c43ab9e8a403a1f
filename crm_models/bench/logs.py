"""The sequence model beside its baselines on logs with few actions, as engagement histories and processes are.

    python -m crm_models.bench.logs make FOLDER [--data DATA]
    python -m crm_models.bench.logs run FOLDER/* [--holdout 1] [--seeds 1] [--set NAME=VALUE]

`make` draws logs whose next-action probabilities are known, and with them the ceiling of every score; from DATA, with
`starbucks/`, `online-retail/`, `cdnow/` and `movielens-latest-small/` in it, it makes logs of real histories.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.bench import quality
from crm_models.core.files import read_json
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort, save_cohort

SCORES = ("hr_at_1", "ndcg_at_10", "loss")

Next = Callable[[list[int]], np.ndarray]
"""Probabilities (A,) of the next action after a history."""


# ---- logs with a known truth -----------------------------------------------------------------------------------------


def markov(rng: np.random.Generator, n_actions: int = 6, sticky: float = 0.33) -> Next:
    """The next action depends on the last one, which is repeated with probability `sticky` and more."""
    table = (1 - sticky) * rng.dirichlet(np.full(n_actions, 0.4), n_actions) + sticky * np.eye(n_actions)
    return lambda history: table[history[-1]] if history else np.full(n_actions, 1 / n_actions)


def second_order(rng: np.random.Generator, n_actions: int = 13) -> Next:
    """The next action depends on the last two."""
    table = rng.dirichlet(np.full(n_actions, 0.25), (n_actions, n_actions))
    return lambda history: table[history[-2], history[-1]] if len(history) > 1 else np.full(n_actions, 1 / n_actions)


def semi_markov(rng: np.random.Generator, n_actions: int = 6, longest: int = 6) -> Next:
    """An action is repeated for a number of times of its own law; which one follows depends on the two before.

    The probability of one more repeat depends on how long the stay already is, so no short chain can know it.
    """
    after = rng.dirichlet(np.full(n_actions, 0.3), (n_actions, n_actions))
    after[:, np.arange(n_actions), np.arange(n_actions)] = 0  # a stay ends with another action
    after /= after.sum(axis=2, keepdims=True)
    stays = rng.dirichlet(np.full(longest, 0.5), n_actions)

    def following(history: list[int]) -> np.ndarray:
        if not history:
            return np.full(n_actions, 1 / n_actions)
        last, stay = history[-1], 1
        while stay < len(history) and history[-1 - stay] == last:
            stay += 1
        before = history[-1 - stay] if stay < len(history) else last
        left = stays[last, stay - 1 :].sum() if stay <= longest else 0.0
        ends = stays[last, stay - 1] / left if left > 0 else 1.0
        p = ends * (after[before, last] if before != last else after[:, last].mean(axis=0))
        p[last] += 1 - ends
        return p / p.sum()

    return following


def drawn(name: str, following: Next, rng: np.random.Generator, customers: int = 3000) -> tuple[Cohort, dict[str, Any]]:
    """A log of histories of 4 events and more, and the ceiling of predicting each history's last event."""
    rows, ceilings = [], []
    for customer in range(customers):
        history: list[int] = []
        for _ in range(4 + rng.geometric(0.12)):
            p = following(history)
            history.append(int(rng.choice(len(p), p=p)))
        best = np.sort(p)[::-1]
        gain = 1 / np.log2(np.arange(len(best)) + 2)
        ceilings.append((best[0], (best * gain)[:10].sum(), -(p * np.log(np.maximum(p, 1e-300))).sum()))
        times = np.cumsum(rng.gamma(0.5, 6.0, len(history)))
        rows += [(f"c{customer:05d}", f"a{a:02d}", t) for a, t in zip(history, times, strict=True)]
    return _cohort(name, *zip(*rows, strict=True)), dict(zip(SCORES, np.mean(ceilings, axis=0).tolist(), strict=True))


# ---- logs of real histories ------------------------------------------------------------------------------------------


def real(data: Path) -> Iterator[Cohort]:
    """Logs with few actions from the sets in `data`: what was bought in baskets, sums and stars instead of products."""
    lines = pd.read_csv(data / "online-retail" / "online_retail.csv.gz").dropna(subset=["CustomerID"])
    lines["amount"] = lines["Quantity"] * lines["UnitPrice"]
    baskets = lines.groupby(["CustomerID", "InvoiceDate", "InvoiceNo"], as_index=False)["amount"].sum()
    sizes = pd.cut(baskets["amount"], [-np.inf, 0, 150, 300, 500, 1000, np.inf]).cat.codes
    yield _cohort("retail_baskets", baskets["CustomerID"], sizes, pd.to_datetime(baskets["InvoiceDate"]))

    cdnow = pd.read_csv(data / "cdnow" / "CDNOW_master.txt", sep=r"\s+", skiprows=1, names=["id", "date", "n", "usd"])
    n_discs = pd.cut(cdnow["n"], [-np.inf, 1, 2, 3, 5, np.inf]).cat.codes
    yield _cohort("cdnow_discs", cdnow["id"], n_discs, pd.to_datetime(cdnow["date"].astype(str)))

    ratings = pd.read_csv(data / "movielens-latest-small" / "ratings.csv")
    rated = pd.to_datetime(ratings["timestamp"], unit="s")
    yield _cohort("movielens_stars", ratings["userId"], ratings["rating"], rated)

    from crm_models.data.sources.starbucks import import_starbucks

    yield import_starbucks([data / "starbucks"])


def _cohort(name: str, customer: Any, action: Any, timestamp: Any) -> Cohort:
    events = pd.DataFrame({"customer_id": customer, "action": action, "timestamp": timestamp})
    events[["customer_id", "action"]] = events[["customer_id", "action"]].astype("str")
    events = events.sort_values(["customer_id", "timestamp"], kind="stable").reset_index(drop=True)
    return Cohort.build(name=name, source="bench.logs", customers=None, interactions=events)


# ---- command line ----------------------------------------------------------------------------------------------------


def make(folder: Path, data: Path | None) -> None:
    """Write the logs as cohorts; the ceiling of a drawn one stands beside it in `ceiling.json`."""
    for seed, law in enumerate((markov, second_order, semi_markov)):
        rng = np.random.default_rng(seed)
        cohort, ceiling = drawn(law.__name__, law(rng), rng)
        save_cohort(cohort, folder / law.__name__, extra={"ceiling.json": ceiling})
    for cohort in real(data) if data else ():
        save_cohort(cohort, folder / cohort.name)


def run(folders: list[Path], holdout: int, seeds: int, settings: list[str]) -> None:
    """Print HR@1, NDCG@10 and loss of ours, of each baseline, and the ceiling where it is known."""
    for folder in folders:
        cohort, known = load_cohort(folder), folder / "ceiling.json"
        configs = [quality.configured("sequence", seed, settings) for seed in range(seeds)]
        told = [quality.sequence(cohort, config, holdout) for config in configs]
        ours = {score: float(np.mean([one[score] for one in told])) for score in SCORES}
        shown = {"ours": ours, **told[0]["baselines"]}
        if known.exists() and holdout == 1:  # the ceiling is that of the last event
            shown["ceiling"] = read_json(known)
        print(f"{folder.name}: {told[0]['customers']:,} customers, {np.mean([one['fit_s'] for one in told]):.0f} s")
        for name, scores in shown.items():
            print(f"  {name:12} " + "  ".join(f"{score} {scores[score]:.4f}" for score in SCORES), flush=True)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--data", type=Path)
    running = commands.add_parser("run")
    running.add_argument("logs", type=Path, nargs="+")
    running.add_argument("--holdout", type=int, default=1)
    running.add_argument("--seeds", type=int, default=1)
    running.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    if args.command == "make":
        make(args.folder, args.data)
    else:
        run(args.logs, args.holdout, args.seeds, args.set)


if __name__ == "__main__":
    main()
