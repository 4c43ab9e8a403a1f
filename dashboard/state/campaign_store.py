"""Campaigns on disk, read through bounded caches whose keys change when files do, and the demo campaign."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.campaigns import learning, ledger, making
from crm_models.campaigns.budgeting import fund
from crm_models.campaigns.checking import Facts, facts
from crm_models.campaigns.folder import DECISIONS, FILE, OUTCOMES, READING, Campaign
from crm_models.campaigns.learning import FILE as LEARNED
from crm_models.campaigns.offers import Offer
from crm_models.campaigns.rules import Condition, Rule
from crm_models.campaigns.simulation import simulate
from crm_models.campaigns.split import Split
from crm_models.core.errors import ConfigError, CrmError, why
from crm_models.core.files import delete_folder
from crm_models.core.schema import CHURNED, CUSTOMER_ID
from crm_models.data.storage import customer_columns
from crm_models.data.truth import load_truth
from crm_models.planning.policy import Policy
from dashboard.state import access, store
from dashboard.state.workspace import (
    cohorts_folder,
    mark,
    new_name,
    newest_first,
    workspace_folder,
)

CHOSEN = "campaign"
"""Session key and query parameter of the chosen campaign."""

DEMO = {"demo-standard": "demo-campaign", "demo-quick": "demo-first-look"}
"""The campaign that is made for each run of the demo cohort when the page is first opened with it."""


def campaigns_folder() -> Path:
    """Folder of all campaign folders."""
    return workspace_folder() / "campaigns"


def names(cohort: str) -> list[str]:
    """Campaigns on a cohort, newest first; without damaged ones (see `damaged`)."""
    return [
        name
        for name in access.visible("campaigns", newest_first(campaigns_folder(), FILE))
        if not trouble(name) and Path(campaign(name).about["cohort_folder"]).name == cohort
    ]


def trouble(name: str) -> str:
    """Why a campaign cannot be read, naming the file; "" if it can."""
    try:
        campaign(name)
    except (CrmError, OSError) as error:
        return why(error)
    return ""


def damaged() -> dict[str, str]:
    """Campaigns that cannot be read, with the reason."""
    troubles = {name: trouble(name) for name in access.visible("campaigns", newest_first(campaigns_folder(), FILE))}
    return {name: reason for name, reason in troubles.items() if reason}


def campaign(name: str) -> Campaign:
    """A saved campaign. Raises `DataError` if it is missing or damaged."""
    access.need_visible("campaigns", name)
    folder = campaigns_folder() / name
    return _campaign(str(folder), mark(folder / FILE))


def counts(chosen: Campaign) -> Facts:
    """Counts of a campaign."""
    return _facts(str(chosen.folder), mark(chosen.folder / FILE), mark(chosen.folder / DECISIONS))


def decisions(chosen: Campaign) -> pd.DataFrame:
    """Decisions of a campaign, shared by all viewers: read them, never change them."""
    return _decisions(str(chosen.folder), mark(chosen.folder / DECISIONS))


def reading(chosen: Campaign) -> dict[str, Any] | None:
    """The last reading of a campaign, or None."""
    return _reading(str(chosen.folder), mark(chosen.folder / READING))


def learned(chosen: Campaign) -> dict[str, Any] | None:
    """What the campaign taught (`learning.learned`), or None; None too if it was read anew since."""
    marks = f"{mark(chosen.folder / LEARNED)}/{mark(chosen.folder / OUTCOMES)}"
    return _learned(str(chosen.folder), marks)


def teachers(chosen: Campaign) -> list[str]:
    """Other campaigns whose lessons were kept, newest first."""
    found = []
    for name in newest_first(campaigns_folder(), LEARNED):
        with suppress(CrmError, OSError):  # a damaged one teaches nothing
            if name != chosen.name and learned(campaign(name)) is not None:
                found.append(name)
    return found


def has_world(chosen: Campaign) -> bool:
    """Whether the campaign's cohort knows the true effects of retention actions, so that it can be simulated."""
    folder = cohorts_folder() / Path(chosen.about["cohort_folder"]).name
    return _has_world(str(folder), mark(folder / "truth.json"))


def profile_columns(chosen: Campaign) -> list[str]:
    """Profile columns of the campaign's customers; the table itself is not read."""
    folder = cohorts_folder() / Path(chosen.about["cohort_folder"]).name
    names = customer_columns(folder) if folder.exists() else []
    return [name for name in names if name not in (CUSTOMER_ID, CHURNED, *access.personal())]


def make(card: store.RunCard, wish: str, **settings: Any) -> str:
    """Make a campaign from a run's scores; returns its name."""
    name = new_name(wish, campaigns_folder())
    with access.making("campaign.make", f"campaigns/{name}"):
        _make(card, name, **settings)
    return name


def _make(card: store.RunCard, name: str, **settings: Any) -> None:
    making.new(
        card.folder.folder,
        campaigns_folder() / name,
        cohort=cohorts_folder() / card.cohort,
        scores=store.scores(card),
        threads=1,
        **settings,
    )


SEEN = "campaign_seen"
"""Session key: name of the campaign that was drawn last, and when it had been changed."""


def note_seen(chosen: Campaign) -> None:
    """Note what this viewer sees of a campaign, once it is drawn."""
    st.session_state[SEEN] = (chosen.name, mark(chosen.folder / FILE))


def _need_seen(chosen: Campaign) -> None:
    """`ConfigError` if somebody else has changed the campaign since this viewer saw it."""
    name, seen = st.session_state.get(SEEN, ("", ""))
    if name == chosen.name and seen != mark(chosen.folder / FILE):
        raise ConfigError(
            f"somebody else changed {name} meanwhile; look at what is there now, and save your change again"
        )


def spend(chosen: Campaign, **budget: Any) -> None:
    """Spend the budget of a campaign; see `budgeting.fund`."""
    _need_seen(chosen)
    fund(chosen, who=access.who(), **budget)


def change(chosen: Campaign, **changes: Any) -> None:
    """Make a campaign again with other rules, offers or split."""
    _need_seen(chosen)
    card = store.run_card(Path(chosen.about["run"]).name)
    making.remake(chosen, store.scores(card) if card is not None else None, who=access.who(), **changes)


@contextmanager
def uploaded(file: Any) -> Iterator[Path]:
    """An uploaded file as a path, which errors call by its own name."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / f"file{Path(file.name).suffix}"
        place.write_bytes(file.getvalue())
        try:
            yield place
        except CrmError as error:
            raise type(error)(str(error).replace(str(place), file.name)) from None


def delete(name: str) -> None:
    """Delete a campaign folder."""
    with access.deleting("campaign.delete", f"campaigns/{name}"):
        delete_folder(campaigns_folder() / name)


def prepare_demo(card: store.RunCard) -> None:
    """Make the demo campaign of a run of the demo cohort, once: sent, simulated and read."""
    name = DEMO.get(card.run_id)
    made = campaigns_folder() / f".{name}.made"
    if name is None or made.exists() or store.scores(card) is None or (campaigns_folder() / name).exists():
        return
    campaigns_folder().mkdir(parents=True, exist_ok=True)
    made.touch()  # first, so that a second viewer does not make it as well
    try:
        _make(
            card,
            name,
            policy=Policy(threshold=0.3),
            offers=DEMO_OFFERS,
            rules=DEMO_RULES,
            split=Split(salt=name, holdout=0.3),
        )
        fund(campaign(name), money=1_500.0, value=200.0)
        ledger.approve(campaign(name), "demo")
        simulate(campaign(name))
    except CrmError:
        made.unlink()
        raise


DEMO_OFFERS = (
    Offer(action="Offer proactive support", channel="phone", cost=6.0, success_rate=0.12, capacity=200),
    Offer(action="Send a loyalty offer", channel="email", cost=2.0, success_rate=0.08),
    Offer(action="Provide a discount", channel="email", cost=10.0, success_rate=0.12),
)
DEMO_RULES = (
    Rule(
        name="no discount for premium",
        kind="suppress",
        actions=("Provide a discount",),
        where=(Condition(column="tier", op="is", value="premium"),),
    ),
    Rule(
        name="calls for known customers",
        kind="eligible",
        actions=("channel:phone",),
        where=(Condition(column="tenure_days", op=">=", value="90"),),
    ),
    Rule(name="no more than 12 contacts", kind="cap", actions=("kind:retention",), most=12, days=60),
)


@st.cache_resource(max_entries=16, show_spinner=False)
def _campaign(folder: str, mark: str) -> Campaign:
    return Campaign.load(folder)


@st.cache_data(max_entries=16, show_spinner=False)
def _reading(folder: str, mark: str) -> dict[str, Any] | None:
    return Campaign.load(folder).reading()


@st.cache_data(max_entries=16, show_spinner=False)
def _learned(folder: str, mark: str) -> dict[str, Any] | None:
    return learning.learned(Campaign.load(folder))


@st.cache_data(max_entries=16, show_spinner=False)
def _facts(folder: str, mark: str, decisions_mark: str) -> Facts:
    return facts(Campaign.load(folder))


@st.cache_resource(max_entries=2, show_spinner=False)
def _decisions(folder: str, mark: str) -> pd.DataFrame:
    return Campaign.load(folder).decisions()


@st.cache_data(max_entries=16, show_spinner=False)
def _has_world(cohort: str, mark: str) -> bool:
    truth = load_truth(Path(cohort)) if mark else None
    return truth is not None and truth.retention is not None
