"""The churn model beside CatBoost, LightGBM and logistic regression on many small real tables, on the same folds.

    python -m crm_models.bench.tables fetch FOLDER
    python -m crm_models.bench.tables run FOLDER/choose/* [--seeds 1] [--set NAME=VALUE]
    python -m crm_models.bench.tables run FOLDER/report/* --seeds 2

Settings are chosen on the tables in `choose` and reported on those in `report`, which are looked at once. `fetch` needs
R with the packages named below (Debian: r-base-core r-cran-modeldata r-cran-aer r-cran-kernlab r-cran-cardata
r-cran-caret r-cran-lme4 r-cran-survival r-cran-mlbench); `run` takes any cohorts with labels, and the peers of
requirements-bench.txt where they are installed.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from crm_models.bench import quality
from crm_models.core.schema import CHURNED, CUSTOMER_ID
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort, save_cohort

MOST_ROWS = 12_000
"""Rows drawn from a larger table."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A data set of an R package. positive: the outcome, in R; drop: columns that tell it; text: codes that look like
    numbers."""

    package: str
    item: str
    positive: str
    part: Literal["choose", "report"]
    drop: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


def _choose(package: str, item: str, positive: str, **more: Any) -> Table:
    return Table(package=package, item=item, positive=positive, part="choose", **more)


def _report(package: str, item: str, positive: str, **more: Any) -> Table:
    return Table(package=package, item=item, positive=positive, part="report", **more)


TABLES = (
    _choose("modeldata", "mlc_churn", "churn == 'yes'", drop=("churn",)),
    _choose("modeldata", "attrition", "Attrition == 'Yes'", drop=("Attrition",)),
    _choose("modeldata", "credit_data", "Status == 'bad'", drop=("Status",)),
    _choose("modeldata", "lending_club", "Class == 'bad'", drop=("Class",)),
    _choose("AER", "HMDA", "deny == 'yes'", drop=("deny",)),
    _choose("AER", "SmokeBan", "smoker == 'yes'", drop=("smoker",)),
    _choose("kernlab", "spam", "type == 'spam'", drop=("type",)),
    _choose("caret", "GermanCredit", "Class == 'Bad'", drop=("Class",)),
    _choose("lme4", "VerbAgg", "r2 == 'Y'", drop=("r2", "resp"), text=("id",)),
    _choose(
        "carData",
        "MplsStops",
        "personSearch == 'YES'",
        drop=("personSearch", "idNum", "vehicleSearch", "citationIssued"),
    ),
    _report("modeldata", "stackoverflow", "Remote == 'Remote'", drop=("Remote",)),
    _report("modeldata", "cells", "class == 'PS'", drop=("class", "case")),
    _report("AER", "ResumeNames", "call == 'yes'", drop=("call",)),
    _report("AER", "HealthInsurance", "insurance == 'no'", drop=("insurance",)),
    _report("AER", "NMES1988", "insurance == 'no'", drop=("insurance",)),
    _report("AER", "Fertility", "morekids == 'yes'", drop=("morekids",)),
    _report("kernlab", "ticdata", "CARAVAN == 'insurance'", drop=("CARAVAN",)),
    _report("carData", "Arrests", "released == 'No'", drop=("released",)),
    _report("carData", "TitanicSurvival", "survived == 'no'", drop=("survived",)),
    _report("lme4", "InstEval", "y <= 2", drop=("y",), text=("s", "d", "dept")),
    _report("survival", "flchain", "death == 1", drop=("death", "futime", "chapter")),
    _report("survival", "nwtco", "rel == 1", drop=("rel", "edrel", "seqno", "in.subcohort")),
    _report("mlbench", "PimaIndiansDiabetes2", "diabetes == 'pos'", drop=("diabetes",)),
)


def fetch(folder: Path) -> None:
    """Write every table as a cohort, `choose/NAME` and `report/NAME`; `CalledProcessError` where R lacks a package."""
    for table in TABLES:
        script = (
            f"data({table.item}, package = '{table.package}'); d <- as.data.frame({table.item}); "
            f"d$.outcome <- as.integer(with(d, {table.positive})); write.csv(d, row.names = FALSE, na = '')"
        )
        told = subprocess.run(["Rscript", "-e", script], check=True, capture_output=True, text=True)
        rows = pd.read_csv(io.StringIO(told.stdout), dtype=dict.fromkeys(table.text, "str"))
        rows = rows.dropna(subset=[".outcome"])
        rows = rows.sample(min(len(rows), MOST_ROWS), random_state=0).sort_index()
        people = rows.drop(columns=[*table.drop, ".outcome"])
        people.insert(0, CUSTOMER_ID, [f"{k:06d}" for k in range(len(people))])
        people[CHURNED] = rows[".outcome"].to_numpy() == 1
        cohort = Cohort.build(name=table.item, source=f"R package {table.package}", customers=people, interactions=None)
        save_cohort(cohort, folder / table.part / table.item)
        print(f"{table.part}/{table.item}: {len(people):,} rows, {people[CHURNED].mean():.1%} positive", flush=True)


# ---- peers -----------------------------------------------------------------------------------------------------------


def peers(cohort: Cohort, seed: int, folds: int) -> dict[str, dict[str, float]]:
    """AUC, log loss and seconds a fold of each peer that is installed, one thread, on the folds of `quality.churn`."""
    known = np.flatnonzero(~np.isnan(cohort.labels))
    labels = cohort.labels[known].astype(int)
    features = cohort.customers[list(cohort.feature_columns)].iloc[known].reset_index(drop=True)
    text = [
        str(name)
        for name, column in features.items()
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
    ]
    as_text = features.astype(dict.fromkeys(text, "str")).astype(dict.fromkeys(text, "object"))
    as_text[text] = as_text[text].fillna("(missing)")  # CatBoost takes no blanks among levels
    numbers = as_text.astype({c: "float64" for c in features if c not in text})
    found = {}
    for name, make in _makers(text).items():
        table = numbers.astype(dict.fromkeys(text, "category")) if name == "lightgbm" else numbers
        rows = []
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(known, labels):
            began = time.perf_counter()  # as `quality.churn` times ours
            p = make().fit(table.iloc[train], labels[train]).predict_proba(table.iloc[test])[:, 1]
            rows.append((roc_auc_score(labels[test], p), log_loss(labels[test], p), time.perf_counter() - began))
        auc, loss, seconds = np.mean(rows, axis=0)
        found[name] = {"auc": auc, "log_loss": loss, "fit_s": seconds}
    return found


def _makers(text: list[str]) -> dict[str, Callable[[], Any]]:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def logistic() -> Any:
        scaled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        columns = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), text), (scaled, make_column_selector(dtype_include=np.number))
        )
        return make_pipeline(columns, LogisticRegression(max_iter=2000))

    makers: dict[str, Callable[[], Any]] = {"logistic": logistic}
    try:
        from catboost import CatBoostClassifier
        from lightgbm import LGBMClassifier
    except ImportError:
        print("CatBoost and LightGBM are not installed (requirements-bench.txt); compared with logistic alone")
        return makers
    return makers | {
        "lightgbm": lambda: LGBMClassifier(n_estimators=200, learning_rate=0.03, num_leaves=15, verbose=-1, n_jobs=1),
        "catboost": lambda: CatBoostClassifier(
            iterations=500,
            learning_rate=0.04,
            depth=5,
            verbose=0,
            cat_features=text,
            thread_count=1,
            allow_writing_files=False,
        ),
    }


# ---- the comparison --------------------------------------------------------------------------------------------------


def compare(folders: list[Path], settings: list[str], seeds: int, folds: int) -> None:
    """Print a line per table, and the mean and worst difference to each peer; positive is in our favour."""
    gaps: dict[str, list[tuple[float, float, float]]] = {}
    for folder in folders:
        cohort = load_cohort(folder)
        runs = []
        for seed in range(seeds):
            config = quality.configured("churn", seed, settings)
            ours = quality.churn(cohort, config, folds, seed)
            runs.append({"ours": ours, **peers(cohort, seed, folds)})
        means = {
            name: {score: float(np.mean([run[name][score] for run in runs])) for score in ("auc", "log_loss", "fit_s")}
            for name in runs[0]
        }
        spread = {name: float(np.std([run[name]["auc"] for run in runs])) for name in runs[0]}
        said = "  ".join(
            f"{name} {own['auc']:.4f} +- {spread[name]:.4f} / {own['log_loss']:.4f}, {own['fit_s']:.1f} s"
            for name, own in means.items()
        )
        ece = np.mean([run["ours"]["ece_pooled"] for run in runs])
        print(f"{folder.name}: {said}  calibration error {ece:.4f}", flush=True)
        for name, own in means.items():
            if name != "ours":
                gap = (means["ours"]["auc"] - own["auc"], own["log_loss"] - means["ours"]["log_loss"])
                gaps.setdefault(name, []).append((*gap, means["ours"]["fit_s"] / own["fit_s"]))
    for name, rows in gaps.items():
        auc, loss, slower = np.array(rows).T
        print(
            f"beside {name} on {len(rows)} tables: AUC {auc.mean():+.4f} (worst {auc.min():+.4f}, better on "
            f"{(auc > 0).sum()}), log loss {loss.mean():+.4f} (worst {loss.min():+.4f}, better on {(loss > 0).sum()}), "
            f"{np.median(slower):.1f} times the time in the median"
        )


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch").add_argument("folder", type=Path)
    run = commands.add_parser("run")
    run.add_argument("cohorts", type=Path, nargs="+")
    run.add_argument("--seeds", type=int, default=1)
    run.add_argument("--folds", type=int, default=5)
    run.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    if args.command == "fetch":
        fetch(args.folder)
    else:
        compare(args.cohorts, args.set, args.seeds, args.folds)


if __name__ == "__main__":
    main()
