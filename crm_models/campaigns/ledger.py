"""Ledger: who approved or edited what, when and why; lines are only ever appended, each chained to the one before.

A line that is changed or removed later is found by `lines` (see `core.chain`). Every change takes a lock, so two people
who edit at once lose nothing. The decisions themselves are never edited: whoever was assigned to the plan counts as
such when the campaign is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from crm_models.campaigns.folder import Campaign
from crm_models.core import chain
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.locks import waited_for
from crm_models.core.permissions import Actor, Who, doing, name_of
from crm_models.core.provenance import now
from crm_models.core.schema import CUSTOMER_ID

Act = Literal["approve", "reject", "swap", "exclude", "note", "undo", "export", "confirm"]
ACTS = get_args(Act)
NEED_WHY = ("swap", "exclude", "reject")
EDITS = ("swap", "exclude", "undo")

PERMISSION = dict.fromkeys(("approve", "reject"), "campaign.approve")
PERMISSION |= dict.fromkeys(("swap", "exclude", "undo", "note"), "campaign.change")
PERMISSION |= {"export": "campaign.export", "confirm": "campaign.confirm"}
"""The action of `core.permissions` that each kind of line needs."""

FILE = "ledger.jsonl"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What somebody does. customer_id: for swap, exclude and notes on one customer. to: of a swap, the new action; of
    an undo, the `sha256` of the line to undo."""

    who: Who
    action: Act
    customer_id: str | None = None
    to: str | None = None
    why: str = ""

    def __post_init__(self) -> None:
        if self.action not in ACTS:
            raise ConfigError(f"action must be one of {', '.join(ACTS)}; found {self.action!r}")
        if not name_of(self.who).strip():
            raise ConfigError(f"{self.action}: expected who does it, found a blank")
        if self.action in NEED_WHY and not self.why.strip():
            raise ConfigError(f"{self.action}: expected a reason, found none")
        if self.action in ("swap", "exclude") and not self.customer_id:
            raise ConfigError(f"{self.action}: expected a customer, found none")


def lines(folder: Path) -> list[dict[str, Any]]:
    """All lines of the ledger of a campaign folder. Raises `DataError` if one was changed, removed or cut off."""
    return chain.lines(folder / FILE)


def append(campaign: Campaign, entry: Entry) -> dict[str, Any]:
    """Append a line to the ledger and return it. Raises `DataError` for a customer or an action that does not exist."""
    with doing(entry.who, PERMISSION[entry.action], campaign.place):
        return record(campaign, entry)


def record(campaign: Campaign, entry: Entry) -> dict[str, Any]:
    """The same for a caller who has checked that whoever acts may do so."""
    with exclusive(campaign.folder):
        return _append(campaign, entry, _checked(campaign, entry))


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Nobody else changes the campaign in this folder meanwhile. `DataError` if somebody does so for ten seconds.

    The lock lies beside the folder, because a campaign that is made again replaces the whole folder.
    """
    with waited_for(folder.with_name(f".{folder.name}.lock")):
        yield


def _append(campaign: Campaign, entry: Entry, came_from: str | None) -> dict[str, Any]:
    earlier = lines(campaign.folder)
    if entry.action == "undo" and not any(
        line["sha256"] == entry.to and line["action"] in ("swap", "exclude") for line in earlier
    ):
        raise DataError(f"undo: expected the sha256 of a swap or an exclusion, found {entry.to!r}")
    line = {
        "at": now(),
        "who": name_of(entry.who),
        "role": entry.who.role if isinstance(entry.who, Actor) else "local",
        "campaign": campaign.name,
        "customer_id": entry.customer_id,
        "action": entry.action,
        "from": came_from,
        "to": entry.to if entry.action != "approve" else campaign.decisions_mark(),
        "why": entry.why,
    }
    return chain.append(campaign.folder / FILE, line, earlier[-1]["sha256"] if earlier else chain.START)


def _checked(campaign: Campaign, entry: Entry) -> str | None:
    """The customer's present action, for `from`."""
    if entry.customer_id is None:
        return None
    table = campaign.decisions([CUSTOMER_ID, "arm", "action"])
    row = table[table[CUSTOMER_ID] == entry.customer_id]
    if row.empty:
        raise DataError(
            f"{entry.action}: expected a customer of the campaign, found none with id {entry.customer_id!r}"
        )
    if entry.action in ("swap", "exclude") and row["arm"].iloc[0] not in ("plan", "explore"):
        raise DataError(
            f"{entry.action}: expected a customer who gets the plan; {entry.customer_id!r} is in the arm "
            f"{row['arm'].iloc[0]}, which gets no retention action"
        )
    if entry.action == "swap":
        reasons = campaign.why_not(entry.customer_id).query("kind == 'retention'")
        by_action = dict(zip(reasons["action"], reasons["dropped_by"], strict=True))
        if entry.to not in by_action:
            raise DataError(f"swap: expected one of {', '.join(by_action)}; found {entry.to!r}")
        if reason := by_action[entry.to]:
            raise DataError(f"swap: {entry.to!r} is not allowed for {entry.customer_id!r}: {reason}")
    return str(row["action"].iloc[0])


def is_fixed(campaign: Campaign) -> bool:
    """Whether the campaign was exported or read, so that rules, groups and budget can no longer change."""
    exported = any(line["action"] == "export" for line in lines(campaign.folder))
    return exported or (campaign.folder / "reading.json").exists()


# ---- the present state -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class State:
    """What the ledger says at present. swaps: action by customer. approved_by: None unless the last approval is of
    today's decisions, was not rejected, and no edit came after it."""

    swaps: dict[str, str] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    approved_by: str | None = None
    last_editor: str | None = None
    n_lines: int = 0


def state(campaign: Campaign) -> State:
    """Fold the ledger of a campaign to the present."""
    found = lines(campaign.folder)
    undone = {line["to"] for line in found if line["action"] == "undo"}
    swaps: dict[str, str] = {}
    excluded: set[str] = set()
    approved_by, approved_mark, last_editor = None, None, None
    for line in found:
        if line["action"] in EDITS:
            last_editor, approved_by = line["who"], None
        if line["action"] == "reject":
            approved_by = None
        elif line["action"] == "approve":
            approved_by, approved_mark = line["who"], line["to"]
        elif line["sha256"] in undone:
            continue
        elif line["action"] == "swap":
            swaps[line["customer_id"]] = line["to"]
            excluded.discard(line["customer_id"])
        elif line["action"] == "exclude":
            excluded.add(line["customer_id"])
    if approved_by is not None and approved_mark != campaign.decisions_mark():
        approved_by = None
    return State(
        swaps={customer: to for customer, to in swaps.items() if customer not in excluded},
        excluded=frozenset(excluded),
        approved_by=approved_by,
        last_editor=last_editor,
        n_lines=len(found),
    )


def approve(campaign: Campaign, who: Who, *, why: str = "", four_eyes: bool = False) -> dict[str, Any]:
    """Approve the campaign as it is now. four_eyes: refused if `who` made the last edit."""
    if four_eyes and state(campaign).last_editor == name_of(who):
        raise ConfigError(f"approve: expected somebody other than {name_of(who)}, who made the last edit (four eyes)")
    return append(campaign, Entry(who=who, action="approve", why=why))
