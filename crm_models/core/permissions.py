"""Who may do what: a table of actions and roles, checked in the function that acts, and an audit log of what was done.

A function that changes or hands out something takes `who`: a name for whoever owns the machine (the command line, a
notebook, an app without sign-in), who may do everything, or an `Actor`, a person who signed in. Roles come from what
the sign-in provider says of a person, by the file `roles.toml`:

    [roles]                                  # the highest that fits; nobody else gets in
    admin = ["ann@example.org"]
    approver = ["groups:crm-approvers"]      # CLAIM:VALUE, for claims other than the e-mail address
    analyst = ["*@example.org"]
    [settings]
    others = "read"                          # or "hidden": cohorts, runs and campaigns of others
    personal = ["email", "phone"]            # columns that viewers see masked
    [quotas]
    trainings = 3                            # queued by one person
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from crm_models.core import chain
from crm_models.core.errors import AccessError, ConfigError
from crm_models.core.locks import waited_for
from crm_models.core.provenance import now

ROLES_FILE, AUDIT = "roles.toml", "audit.jsonl"
"""Of a workspace."""

ROLES = ("viewer", "analyst", "approver", "admin")
"""Each may do what those before it may."""

ACTIONS = {
    "look": ("viewer", "look at pages"),
    "cohort.make": ("analyst", "create cohorts"),
    "cohort.delete": ("analyst", "delete this cohort"),
    "run.train": ("analyst", "train models"),
    "run.stop": ("analyst", "stop this training"),
    "run.delete": ("analyst", "delete this run"),
    "run.score": ("viewer", "score customers"),  # what a page needs to be drawn
    "run.compare": ("analyst", "score other customers"),
    "upload": ("analyst", "upload files"),
    "paper.run": ("analyst", "re-run the paper"),
    "plans.export": ("analyst", "download plans"),
    "campaign.make": ("analyst", "create campaigns"),
    "campaign.change": ("analyst", "change campaigns"),
    "campaign.approve": ("approver", "approve or reject campaigns"),
    "campaign.export": ("analyst", "write files of campaigns"),
    "campaign.confirm": ("analyst", "confirm what was loaded"),
    "campaign.read": ("analyst", "read what campaigns did"),
    "campaign.delete": ("analyst", "delete this campaign"),
    "workspace.backup": ("admin", "back up the workspace"),
    "workspace.restore": ("admin", "restore the workspace"),
    "audit.read": ("admin", "read what people did"),
}
"""The least role for each action, and what it is in words."""

OWN = ("cohort.delete", "run.stop", "run.delete", "campaign.delete")
"""Actions on what belongs to somebody: only the owner and admins may."""

QUIET = ("look", "run.score", "upload", "audit.read")
"""Actions that are not logged: they change nothing."""

MASK = "•••"
"""Stands for a value of a column that is marked as personal."""


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """Limits of what one person can take of the machine; admins have none."""

    trainings: int = 3  # queued or under way
    customers: int = 1_000_000  # of a generated cohort
    upload_mb: int = 400  # held in one session
    workspace_gb: float = 50.0  # all that everybody keeps

    def __post_init__(self) -> None:
        for quota in fields(self):
            value = getattr(self, quota.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ConfigError(f"[quotas] {quota.name}: expected a number from 0 up, found {value!r}")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The content of `roles.toml`. roles: patterns by role; others: `read` or `hidden`; personal: masked columns."""

    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: str = "read"
    personal: tuple[str, ...] = ()
    quotas: Quotas = field(default_factory=Quotas)

    @classmethod
    def read(cls, file: Path) -> Rules:
        """The rules in a file; without one, nobody has a role. `ConfigError` for an unknown role, setting or quota."""
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: expected TOML with roles, found an unreadable file ({error})") from None
        try:
            return cls._of(content)
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Rules:
        known = {"roles": ROLES, "settings": ("others", "personal"), "quotas": [f.name for f in fields(Quotas)]}
        for section, values in content.items():
            if section not in known or not isinstance(values, dict):
                raise ConfigError(f"expected the sections {', '.join(known)}; found {section!r}")
            for name in values:
                if name not in known[section]:
                    raise ConfigError(f"[{section}]: expected {', '.join(known[section])}; found {name!r}")
        settings = content.get("settings", {})
        others = settings.get("others", "read")
        if others not in ("read", "hidden"):
            raise ConfigError(f"[settings] others: expected read or hidden, found {others!r}")
        roles = {role: _texts(f"[roles] {role}", given) for role, given in content.get("roles", {}).items()}
        personal = _texts("[settings] personal", settings.get("personal", []))
        return cls(roles=roles, others=others, personal=personal, quotas=Quotas(**content.get("quotas", {})))

    def role_of(self, claims: Mapping[str, Any]) -> str | None:
        """The highest role that fits what the provider says of a person; None if none does."""
        for role in reversed(ROLES):
            if any(_fits(pattern, claims) for pattern in self.roles.get(role, ())):
                return role
        return None


def name_in(claims: Mapping[str, Any]) -> str:
    """Who a person is by what the provider says: the e-mail address if it is verified, else its own name for them."""
    return str((_is_verified(claims) and claims.get("email")) or claims.get("sub") or "").lower()


def _is_verified(claims: Mapping[str, Any]) -> bool:
    """Whether the e-mail address is verified; a provider that says nothing about it is trusted."""
    return claims.get("email_verified") not in (False, "false")


def _texts(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise ConfigError(f"{where}: expected a list of texts, found {given!r}")
    return tuple(given)


def _fits(pattern: str, claims: Mapping[str, Any]) -> bool:
    """Whether a pattern such as "*@example.org" or "groups:crm" fits. An address that is not verified fits nothing."""
    claim, colon, value = pattern.partition(":")
    if not colon:
        claim, value = "email", pattern
    if claim == "email" and not _is_verified(claims):
        return False
    found = claims.get(claim)
    texts = found if isinstance(found, list | tuple) else [found]
    return any(isinstance(text, str) and fnmatchcase(text.lower(), value.lower()) for text in texts)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person who signed in. role: None may do nothing. place: where from, for the log. log: the audit file."""

    name: str
    role: str | None
    place: str = ""
    log: Path | None = None
    rules: Rules = field(default_factory=Rules)

    def may(self, action: str, owner: str | None = None) -> bool:
        """Whether the person may do this, to what belongs to `owner` (None: nobody)."""
        if self.role is None or ROLES.index(self.role) < ROLES.index(ACTIONS[action][0]):
            return False
        return action not in OWN or self.role == "admin" or owner == self.name

    def may_see(self, owner: str | None) -> bool:
        """Whether the person may see what belongs to `owner`."""
        return self.may("look") and (self.rules.others == "read" or self.role == "admin" or owner in (None, self.name))

    @contextmanager
    def doing(self, action: str, on: str = "", owner: str | None = None) -> Iterator[None]:
        """The action happens within it, and is then logged; `AccessError`, logged too, if the person may not."""
        if not self.may(action, owner):
            self._log(action, on, "refused")
            raise AccessError(self._refusal(action, on, owner))
        if self.log is not None and action not in QUIET:
            chain.last_hash(self.log)  # nothing is done that could not be logged afterwards
        try:
            yield
        except Exception:
            self._log(action, on, "failed")
            raise
        self._log(action, on, "done")

    def _refusal(self, action: str, on: str, owner: str | None) -> str:
        least, words = ACTIONS[action]
        what = f"{self.name} may not {words}{f' ({on})' if on else ''}"
        if self.role is None:
            return f"{what}: expected a role, found none; an admin gives roles in roles.toml"
        if action in OWN and ROLES.index(self.role) >= ROLES.index(least):
            return f"{what}: only its owner{f' {owner}' if owner else ''} and admins may"
        return f"{what}: expected the role {least} or higher, found {self.role}"

    def _log(self, action: str, on: str, outcome: str) -> None:
        if self.log is None or (action in QUIET and outcome == "done"):
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        about = {"at": now(), "who": self.name, "role": self.role, "action": action, "on": on}
        with waited_for(self.log.with_name(f".{self.log.name}.lock")):
            chain.append(self.log, about | {"outcome": outcome, "from": self.place}, chain.last_hash(self.log))


Who = str | Actor
"""Who acts: a name for the owner of the machine, or a person who signed in."""


@contextmanager
def doing(who: Who, action: str, on: str = "", owner: str | None = None) -> Iterator[None]:
    """The action happens within it: see `Actor.doing`. The owner of the machine may do everything, unlogged."""
    if isinstance(who, Actor):
        with who.doing(action, on, owner):
            yield
    else:
        yield


def name_of(who: Who) -> str:
    """The name of whoever acts."""
    return who.name if isinstance(who, Actor) else who
