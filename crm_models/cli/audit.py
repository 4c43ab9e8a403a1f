"""Commands in the audit log of the workspace that they change, beside what people do in the app: by the user's name.

Only where a team works: a workspace with `roles.toml` or an audit log. The user of the machine may do everything.
"""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crm_models.core.files import absolute
from crm_models.core.permissions import AUDIT, ROLES_FILE, Actor

ACTIONS = {
    "generate": "cohort.make",
    "import": "cohort.make",
    "train": "run.train",
    "tune": "run.train",
    "stability": "run.train",
    "plan": "plans.export",
    "paper": "paper.run",
    "campaign new": "campaign.make",
    "campaign allocate": "campaign.change",
    "campaign approve": "campaign.approve",
    "campaign export": "campaign.export",
    "campaign simulate": "campaign.read",
    "campaign read": "campaign.read",
    "campaign uplift": "campaign.read",
    "workspace backup": "workspace.backup",
    "workspace restore": "workspace.restore",
}
"""Commands that change a workspace or hand something out, and what each does."""


@contextmanager
def logged(args: argparse.Namespace) -> Iterator[None]:
    """The command runs within it, and is then in the log of its workspace, if it has one."""
    step = getattr(args, "step", None) or getattr(args, "workspace_command", None)
    action = ACTIONS.get(f"{args.command} {step}" if step else args.command)
    places = [value for value in vars(args).values() if isinstance(value, Path)]
    workspace = next((folder for place in places if (folder := _workspace(place)) is not None), None)
    if action is None or workspace is None:
        yield
        return
    on = ", ".join(str(absolute(place)).removeprefix(f"{workspace}/") for place in places)
    user = Actor(name=_user(), role="admin", place="command line", log=workspace / AUDIT)
    with user.doing(action, on, owner=user.name):
        yield


def _workspace(place: Path) -> Path | None:
    """The workspace that a file or folder is in, if a team works there."""
    place = absolute(place)
    return next((f for f in (place, *place.parents) if (f / ROLES_FILE).exists() or (f / AUDIT).exists()), None)


def _user() -> str:
    """The user's name, or number: in a container it may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
