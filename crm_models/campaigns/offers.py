"""Offers: what an action costs, how often it can be made, and the vocabulary of actions that rules speak of.

Letters: V actions of a campaign (those of the run, then the retention actions that are not in the run).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crm_models.campaigns.tables import Row, read_rows
from crm_models.core.errors import DataError
from crm_models.data.features import FeatureEncoder
from crm_models.planning.plans import Catalogue

OFFER_COLUMNS = ("action", "channel", "cost", "success_rate", "capacity", "mandatory")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A retention action on offer.

    cost: of one contact. success_rate: share of churners whom the action keeps, your assumption; None: not stated.
    capacity: most customers who can get it. mandatory: comes first wherever it is allowed.
    """

    action: str
    channel: str = ""
    cost: float = 0.0
    success_rate: float | None = None
    capacity: int | None = None
    mandatory: bool = False

    def __post_init__(self) -> None:
        if not self.action.strip():
            raise DataError("an offer needs the name of its action, found a blank")
        if not 0 <= self.cost < math.inf:
            raise DataError(f"offer {self.action!r}: cost must be a number from 0 up, found {self.cost}")
        if self.success_rate is not None and not 0 <= self.success_rate <= 1:
            raise DataError(f"offer {self.action!r}: success_rate must lie between 0 and 1, found {self.success_rate}")
        if self.capacity is not None and (self.capacity < 0 or self.capacity != int(self.capacity)):
            raise DataError(f"offer {self.action!r}: capacity must be a whole number from 0 up, found {self.capacity}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Offer(**values)` is the inverse."""
        return vars(self).copy()


def read_offers(file: Path) -> tuple[Offer, ...]:
    """The offers in a CSV with the columns of `OFFER_COLUMNS`; only `action` is needed. Raises `DataError`."""
    offers = tuple(_offer(row) for row in read_rows(file, needed=("action",), known=OFFER_COLUMNS))
    names = [offer.action for offer in offers]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{file}: expected each action once, found {name!r} {names.count(name)} times")
    return offers


def _offer(row: Row) -> Offer:
    with row.located():
        return Offer(
            action=row.text("action"),
            channel=row.text("channel"),
            cost=row.number("cost") or 0.0,
            success_rate=row.number("success_rate"),
            capacity=row.whole("capacity"),
            mandatory=row.flag("mandatory"),
        )


@dataclass(frozen=True, kw_only=True)
class Actions:
    """The V actions of a campaign: names and labels, kind, channel ("" if unknown), and `once`: not repeatable."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    kinds: tuple[str, ...]
    channels: tuple[str, ...]
    once: np.ndarray

    @classmethod
    def of(cls, catalogue: Catalogue, encoder: FeatureEncoder, offers: Sequence[Offer]) -> Actions:
        """The vocabulary of the plans, with the channels of the offers. `DataError` for an offer of no action in it."""
        extra = len(catalogue.names) - encoder.n_actions
        channels = dict.fromkeys(catalogue.names, "")
        for offer in offers:
            if offer.action not in catalogue.labels and offer.action not in catalogue.names:
                raise DataError(
                    f"offer {offer.action!r}: expected an action of the run or a retention action, found neither; "
                    f"known are {', '.join(catalogue.labels[:20])}"
                )
            channels[catalogue.names[catalogue.code(offer.action)]] = offer.channel
        return cls(
            names=catalogue.names,
            labels=catalogue.labels,
            kinds=(*encoder.kinds, *["retention"] * extra),
            channels=tuple(channels.values()),
            once=np.array([not repeatable for repeatable in encoder.repeatable] + [False] * extra),
        )

    def __len__(self) -> int:
        return len(self.names)

    def matching(self, patterns: Sequence[str]) -> np.ndarray:
        """(V,) bool: actions named by a label, an id, `kind:retention`, `channel:email`, or `*` for all.

        Raises `DataError` for a pattern that names no action.
        """
        chosen = np.zeros(len(self), dtype=bool)
        for pattern in patterns:
            one = self._matching(pattern.strip())
            if not one.any():
                raise DataError(
                    f"expected an action, kind:retention, kind:engagement, channel:NAME or *; found {pattern!r}, which "
                    f"names no action; actions are {', '.join(self.labels[:20])}"
                )
            chosen |= one
        return chosen

    def _matching(self, pattern: str) -> np.ndarray:
        if pattern == "*":
            return np.ones(len(self), dtype=bool)
        group, _, name = pattern.partition(":")
        if group in ("kind", "channel") and name:
            return np.array([value == name for value in (self.kinds if group == "kind" else self.channels)])
        # A label first: where labels repeat, all actions of that label are meant.
        by_label = np.array([label == pattern for label in self.labels])
        return by_label if by_label.any() else np.array([action == pattern for action in self.names])
