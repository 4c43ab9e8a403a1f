"""Who is signed in, what they may do and see, what belongs to whom, and how much of the machine they may take.

Without `[auth]` in Streamlit's secrets nobody signs in, and whoever opens the app acts as the owner of the machine.
Functions that act ask here, whatever a page shows: a visitor can press a button that is not drawn for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st
from streamlit.auth_util import get_secrets_auth_section
from streamlit.runtime.scriptrunner import get_script_run_ctx

from crm_models.core import chain, permissions
from crm_models.core.errors import AccessError, CrmError
from crm_models.core.files import read_json, write_json
from crm_models.core.locks import waited_for
from crm_models.core.permissions import AUDIT, ROLES_FILE, Actor, Quotas, Rules, Who
from dashboard.state import workspace
from dashboard.state.workspace import mark, workspace_folder

File = TypeVar("File")

OWNERS = "owners.json"
SIZE_SECONDS = 60.0
"""How long the size of the workspace is taken as known."""


# ---- people ----------------------------------------------------------------------------------------------------------


def who(typed: str = "local") -> Who:
    """Whoever acts: the person who signed in; without sign-in the owner of the machine, by the name that they typed.

    Where there is sign-in, but no session, it is nobody: a download's thread takes along who it is for (`acting`).
    """
    if (acting := _ACTING.get()) is not None:
        return acting
    if get_script_run_ctx() is None:
        return Actor(name="nobody", role=None) if get_secrets_auth_section() else typed
    return person(st.user.to_dict(), str(st.context.ip_address or ""), typed)


def person(claims: Mapping[str, Any], place: str = "", typed: str = "local") -> Who:
    """Whoever acts, by what the provider says of them, with the role that the file of roles gives them now."""
    if "is_logged_in" not in claims:
        return typed
    rules = _rules(str(roles_file()), mark(roles_file()))
    name = permissions.name_in(claims)
    role = rules.role_of(claims) if claims["is_logged_in"] and name else None
    return Actor(name=name or "nobody", role=role, place=place, log=audit_file(), rules=rules)


_ACTING: ContextVar[Who | None] = ContextVar("acting", default=None)


@contextmanager
def acting(person: Who) -> Iterator[None]:
    """Within it, `who` is this person; for the thread of a download, which has no session."""
    token = _ACTING.set(person)
    try:
        yield
    finally:
        _ACTING.reset(token)


def is_admin() -> bool:
    """Whether somebody signed in who is an admin."""
    try:
        now = who()
    except CrmError:  # a damaged file of roles, which the sign-in tells
        return False
    return isinstance(now, Actor) and now.role == "admin"


def may(action: str) -> bool:
    """Whether this viewer's role allows the action, for buttons that would only be refused."""
    now = who()
    return not isinstance(now, Actor) or now.may(action)


def roles_file() -> Path:
    """The file that says who has which role: `CRM_ROLES`, or roles.toml in the workspace."""
    return Path(os.environ.get("CRM_ROLES") or workspace_folder() / ROLES_FILE)


def audit_file() -> Path:
    """The log of what people who signed in did."""
    return workspace_folder() / AUDIT


@lru_cache(maxsize=4)
def _rules(file: str, mark: str) -> Rules:
    return Rules.read(Path(file))


# ---- what belongs to whom --------------------------------------------------------------------------------------------


def owner_of(place: str) -> str | None:
    """Whose a cohort, run or campaign is; place: as in cohorts/demo. None: nobody's, as what the command line made."""
    owners = _owners(str(workspace_folder() / OWNERS), mark(workspace_folder() / OWNERS))
    search, _, number = place.rpartition("-")
    # The trials of a search belong to whoever started it.
    return owners.get(place, owners.get(search) if number.isdecimal() else None)


@lru_cache(maxsize=4)
def _owners(file: str, mark: str) -> dict[str, str]:
    return read_json(Path(file)) if mark else {}


def _set_owner(place: str, owner: str | None) -> None:
    file = workspace_folder() / OWNERS
    with waited_for(file.with_name(f".{OWNERS}.lock")):
        owners = read_json(file) if file.exists() else {}
        if owners.get(place) != owner:
            owners.pop(place, None)
            write_json(file, owners | ({place: owner} if owner is not None else {}))


def visible(kind: str, names: list[str]) -> list[str]:
    """Those of the cohorts, runs or campaigns that this viewer may see."""
    now = who()
    return [name for name in names if now.may_see(owner_of(f"{kind}/{name}"))] if isinstance(now, Actor) else names


def need_visible(kind: str, name: str) -> None:
    """`AccessError` if a cohort, run or campaign belongs to somebody else and is hidden from this viewer."""
    if not visible(kind, [name]):
        raise AccessError(f"{kind}/{name}: it belongs to somebody else, and others may not see it")


@contextmanager
def doing(action: str, place: str) -> Iterator[None]:
    """This viewer does something to a cohort, run or campaign within it; `AccessError` if they may not."""
    with permissions.doing(who(), action, place, owner_of(place)):
        yield


@contextmanager
def making(action: str, place: str) -> Iterator[None]:
    """A cohort, run or campaign is made within it, and then belongs to this viewer."""
    now = who()
    with permissions.doing(now, action, place):
        need_room()
        yield
        _set_owner(place, now.name if isinstance(now, Actor) else None)


@contextmanager
def deleting(action: str, place: str) -> Iterator[None]:
    """A cohort, run or campaign is deleted within it."""
    with doing(action, place):
        yield
        _set_owner(place, None)


def exported(about: str, make: Callable[[], File], action: str = "plans.export") -> Callable[[], File]:
    """The function that makes a file for a download, checked and logged as this viewer's.

    It runs at the click, maybe long after the button was drawn: by the role that the viewer has then.
    """
    has_session = get_script_run_ctx() is not None
    claims, place = (st.user.to_dict(), str(st.context.ip_address or "")) if has_session else ({}, "")

    def made() -> File:
        asked = person(claims, place) if has_session else who()
        with acting(asked), permissions.doing(asked, action, about):
            return make()

    return made


def shown(make: Callable[[], File]) -> Callable[[], File]:
    """The same for what the page shows anyway: whoever may look may keep it."""
    return exported("", make, "look")


# ---- quotas ----------------------------------------------------------------------------------------------------------


def quotas() -> Quotas | None:
    """The limits of this viewer; None for admins and for the owner of the machine."""
    now = who()
    return now.rules.quotas if isinstance(now, Actor) and now.role != "admin" else None


def need_quota(quota: str, wanted: float, what: str) -> None:
    """`AccessError` if this viewer wants more than their quota. what: of what, as in "customers of a cohort"."""
    limits = quotas()
    if limits is not None and wanted > getattr(limits, quota):
        raise AccessError(
            f"expected at most {getattr(limits, quota):,} {what}, found {round(wanted, 3):,}; an admin can raise the "
            f"quota {quota} in {ROLES_FILE}"
        )


def why_no_upload(claims: Mapping[str, Any], size: int) -> str | None:
    """Why a person may not hold so many bytes of uploads in a session, by what the provider says of them."""
    if get_secrets_auth_section():
        claims = {"is_logged_in": False} | dict(claims)
    try:
        now = person(claims)
        with acting(now), permissions.doing(now, "upload"):
            need_quota("upload_mb", size / 1e6, "MB of uploads at a time")
    except CrmError as error:
        return str(error)
    return None


def need_training_quota() -> None:
    """`AccessError` if this viewer has as many trainings queued or under way as one person may have."""
    now = who()
    if isinstance(now, Actor):
        mine = sum(owner_of(f"runs/{job.job.run}") == now.name for job in workspace.jobs().jobs())
        need_quota("trainings", mine + 1, "trainings of one person at a time")


def need_room() -> None:
    """`AccessError` if the workspace holds as much as it may."""
    if quotas() is not None:
        need_quota("workspace_gb", _size(str(workspace_folder())) / 1e9, "GB in the workspace; delete some")


@st.cache_data(ttl=SIZE_SECONDS, max_entries=4, show_spinner=False)
def _size(folder: str) -> int:
    """Bytes of all files of a folder; what is deleted meanwhile counts as nothing."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, file)).st_size
    return total


# ---- personal columns ------------------------------------------------------------------------------------------------


def personal() -> tuple[str, ...]:
    """Columns that this viewer must not see: those marked as personal, for the role viewer."""
    now = who()
    return now.rules.personal if isinstance(now, Actor) and now.role == "viewer" else ()


def marked_personal() -> tuple[str, ...]:
    """Columns marked as personal, which stay out of reports whoever makes them: a file goes from hand to hand."""
    now = who()
    return now.rules.personal if isinstance(now, Actor) else ()


def audit() -> list[dict[str, Any]]:
    """All lines of the audit log, for admins. Raises `AccessError` for others, `DataError` if it was changed."""
    with permissions.doing(who(), "audit.read"):
        return chain.lines(audit_file())
