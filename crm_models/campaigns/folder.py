"""A campaign is a folder: what was decided, for whom, and what came of it.

campaign.json      run, cohort, policy, rules, offers, split, budget, funnel; written last
scores.parquet     churn probability and most probable allowed plan of every customer
dropped.parquet    one row per customer for whom a rule dropped an action: code of the first rule, by action
decisions.parquet  one row per customer: arm, three steps, action, propensity, cost, value
ledger.jsonl       approvals and edits, only ever appended to
sent.parquet       hash of each row that was confirmed as loaded, by preset
outcomes.parquet   what became of the customers;  reading.json  the result of the reading

Letters: N customers, V actions of the campaign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.judging import ALLOWED
from crm_models.campaigns.offers import Actions, Offer
from crm_models.campaigns.rules import Rule
from crm_models.campaigns.split import Split
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import read_whole, sha256
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID
from crm_models.core.sealed import Types, read_record
from crm_models.core.tables import read_frame, read_table, table_errors
from crm_models.inference.score_store import in_parts, read_scores, stream_scores
from crm_models.planning.plans import Catalogue
from crm_models.planning.policy import Policy

FILE = "campaign.json"
DECISIONS = "decisions.parquet"
READING = "reading.json"
OUTCOMES = "outcomes.parquet"
ROW = "row"
"""Column of dropped.parquet: the customer's row in the cohort."""

CHUNK = 65_536
"""Customers whose plans are made at once: bounds the memory of a campaign."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """n customers of a campaign, beside each other. first: row of the first one. code (n, V): see `judging`."""

    first: int
    scores: CustomerScores
    code: np.ndarray
    decisions: pd.DataFrame | None

    @property
    def rows(self) -> slice:
        """Where the customers are in the cohort."""
        return slice(self.first, self.first + len(self.code))

    @property
    def allowed(self) -> np.ndarray:
        """(n, V) bool: the actions that the rules allow each customer."""
        return self.code == ALLOWED


_REMEDY = "make it again with `campaign new`"
_TYPES: Types = {
    "name": str,
    "created_at": str,
    "run": str,
    "run_id": str,
    "cohort_folder": str,
    "cohort_hash": str,
    "policy": dict,
    "rules": list,
    "offers": list,
    "candidates": list,
    "split": dict,
    "budget": (dict, type(None)),
    "funnel": dict,
    "actions": dict,
    "catalogue": dict,
}
"""Entries of `campaign.json`."""
_READING: Types = {
    "metric": str,
    "assigned": dict,
    "observed": dict,
    "sample_ratio_ok": bool,
    "notes": list,
    "looks": int,
}
"""Entries of `reading.json`."""


@dataclass(frozen=True)
class Campaign:
    """A campaign folder and the content of its `campaign.json`. Made by `load`."""

    folder: Path
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: Path | str) -> Campaign:
        """The campaign in a folder. Raises `DataError` if there is none, or if it is damaged."""
        folder = Path(folder)
        if not (folder / FILE).exists():
            raise DataError(f"{folder}: expected a campaign folder, found none; make one with `campaign new RUN --out`")
        about = read_record(folder / FILE, "a campaign", _TYPES, remedy=_REMEDY)
        campaign = cls(folder, about)
        with read_whole(folder / FILE, "a campaign", _REMEDY):
            _ = campaign.rules, campaign.offers, campaign.split, campaign.policy, campaign.actions, campaign.catalogue
            _ = campaign.customers, campaign.candidates
        return campaign

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return str(self.about["name"])

    @property
    def place(self) -> str:
        """What the audit log calls the campaign."""
        return f"campaigns/{self.name}"

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules, in the order of their codes."""
        return tuple(Rule.from_dict(given) for given in self.about["rules"])

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        """The offers with their costs."""
        return tuple(Offer(**given) for given in self.about["offers"])

    @cached_property
    def split(self) -> Split:
        """How customers are assigned to arms."""
        return Split(**self.about["split"])

    @cached_property
    def policy(self) -> Policy:
        """When a plan switches to retention."""
        given = self.about["policy"]
        return Policy(**(given | {"retention_actions": tuple(given["retention_actions"])}))

    @cached_property
    def catalogue(self) -> Catalogue:
        """The vocabulary of the plans."""
        words, given = self.about["actions"], self.about["catalogue"]
        return Catalogue(
            names=tuple(words["names"]),
            labels=tuple(words["labels"]),
            n_actions=int(given["n_actions"]),
            fallback=tuple(given["fallback"]),
            fallback_p=tuple(given["fallback_p"]),
        )

    @cached_property
    def actions(self) -> Actions:
        """The actions that rules speak of."""
        words = self.about["actions"]
        texts = {name: tuple(words[name]) for name in ("names", "labels", "kinds", "channels")}
        return Actions(**texts, once=np.array(words["once"], dtype=bool))

    @property
    def budget(self) -> dict[str, Any] | None:
        """What the last allocation was given and found; None without a budget."""
        return self.about["budget"]

    @property
    def candidates(self) -> tuple[int, ...]:
        """Codes of the retention actions on offer, in order of preference."""
        return tuple(int(code) for code in self.about["candidates"])

    def scores(self) -> CustomerScores:
        """Scores of all customers, with plans that keep the rules."""
        return read_scores(self.folder / "scores.parquet")

    @property
    def customers(self) -> int:
        """Number of customers, N."""
        return int(self.about["funnel"]["customers"])

    @cached_property
    def offered_actions(self) -> tuple[Offer, ...]:
        """The offer of each candidate; one without cost, limit and success rate where none was given."""
        given = {self.catalogue.code(offer.action): offer for offer in self.offers}
        return tuple(given.get(code, Offer(action=self.catalogue.labels[code])) for code in self.candidates)

    @cached_property
    def costs(self) -> np.ndarray:
        """(V + 1,) cost of one contact with each action; the last one, for code -1 (none), is 0."""
        costs = np.zeros(len(self.actions) + 1)
        costs[list(self.candidates)] = [offer.cost for offer in self.offered_actions]
        return costs

    def codes(self, labels: pd.Series) -> np.ndarray:
        """(N,) action codes of labels, -1 for blanks."""
        words = {"": -1} | {label: self.catalogue.code(label) for label in labels.unique() if label}
        return labels.map(words).to_numpy(np.int64)

    def risks(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) ids of all customers, and (N,) their churn probabilities, NaN where unknown."""
        columns = [CUSTOMER_ID, "churn_p"]
        table = read_table(self.folder / "scores.parquet", "the scores of a campaign", columns, remedy=_REMEDY)
        return table.column(CUSTOMER_ID).to_numpy(), table.column("churn_p").to_numpy()

    def dropped(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (M,) of the customers for whom an action was dropped, and (M, V) codes of the first rule."""
        file = self.folder / "dropped.parquet"
        table = read_table(file, "what the rules dropped", remedy=_REMEDY)
        with read_whole(file, "what the rules dropped", _REMEDY):
            codes = [table.column(1 + v).to_numpy() for v in range(len(self.actions))]
            return table.column(ROW).to_numpy(), np.column_stack(codes).astype(np.uint8)

    def offered(self) -> np.ndarray:
        """(N, C) bool: the retention actions on offer that the rules allow each customer."""
        offered = np.ones((self.customers, len(self.candidates)), dtype=bool)
        rows, codes = self.dropped()
        offered[rows] = codes[:, self.candidates] == ALLOWED
        return offered

    def parts(self, *, decided: bool = True) -> Iterator[Part]:
        """The customers part by part, in cohort order. decided: with their decisions, which must exist already."""
        rows, codes = self.dropped()
        first = 0
        tables = _in_parts(self.folder / DECISIONS) if decided else repeat(None)
        for scores, table in zip(stream_scores(self.folder / "scores.parquet", CHUNK), tables, strict=decided):
            code = np.zeros((len(scores.customer_id), len(self.actions)), np.uint8)
            begin, end = np.searchsorted(rows, [first, first + len(code)])
            code[rows[begin:end] - first] = codes[begin:end]
            yield Part(first=first, scores=scores, code=code, decisions=table)
            first += len(code)

    def decisions(self, columns: list[str] | None = None) -> pd.DataFrame:
        """One row per customer, in cohort order; see `deciding.decide` for the columns."""
        return read_frame(self.folder / DECISIONS, "the decisions of a campaign", columns, remedy=_REMEDY)

    def reading(self) -> dict[str, Any] | None:
        """What came of the campaign (`reading.read`), or None if it was not read yet."""
        file = self.folder / READING
        if not file.exists():
            return None
        return read_record(file, "the reading of a campaign", _READING, remedy="read it again", versioned=False)

    def outcomes(self) -> pd.DataFrame | None:
        """The outcomes that the campaign was read with, or None."""
        file = self.folder / OUTCOMES
        if not file.exists():
            return None
        return read_frame(file, "the outcomes of a campaign", [CUSTOMER_ID, "outcome"], remedy="read it again")

    def decisions_mark(self) -> str:
        """SHA-256 of the decisions: what an approval refers to."""
        return sha256(self.folder / DECISIONS)

    def reason(self, code: int) -> str:
        """Why an action is dropped, from its code; "" if it is allowed."""
        if code == ALLOWED:
            return ""
        return self.rules[code - 1].name if code <= len(self.rules) else "had already"

    def why_not(self, customer_id: str) -> pd.DataFrame:
        """For one customer, each action with the first rule that dropped it: `action`, `kind`, `dropped_by`."""
        ids = self.decisions([CUSTOMER_ID])[CUSTOMER_ID]
        at = np.flatnonzero(ids == customer_id)
        if not len(at):
            raise DataError(f"{self.name}: expected a customer of the campaign, found none with id {customer_id!r}")
        rows, codes = self.dropped()
        here = np.flatnonzero(rows == at[0])
        code = codes[here[0]] if len(here) else np.zeros(len(self.actions), np.uint8)
        return pd.DataFrame(
            {
                "action": self.actions.labels,
                "kind": self.actions.kinds,
                "dropped_by": [self.reason(int(k)) for k in code],
            }
        )


def need_as_seen(now: Campaign, seen: Campaign, names: Sequence[str]) -> None:
    """`ConfigError` if somebody else has changed one of these attributes since the campaign was `seen`."""
    for name in names:
        if getattr(now, name) != getattr(seen, name):
            raise ConfigError(
                f"{now.name}: somebody else changed the {name} meanwhile; look at what is there now, and save your "
                "change again"
            )


def _in_parts(file: Path) -> Iterator[pd.DataFrame]:
    with table_errors(file, "the decisions of a campaign", _REMEDY):
        for table in in_parts(file, CHUNK):
            yield table.to_pandas()
