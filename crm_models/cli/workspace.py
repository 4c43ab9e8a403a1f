"""The command `workspace check | backup | restore`: the folder of the app with all cohorts, runs and campaigns."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from crm_models.cli.options import Parser, command
from crm_models.core.errors import DataError


def add_workspace(commands: Any) -> None:
    """Add the command with its own commands."""
    text = "Check, back up or restore a workspace."
    parser: Parser = commands.add_parser("workspace", help=text, description=text)
    own = parser.add_subparsers(dest="workspace_command", required=True, parser_class=Parser, metavar="COMMAND")
    checked = _command(own, "check", "Read everything in the workspace and say what is damaged.", _check)
    checked.add_argument("--repair", action="store_true", help="clear leftovers; delete what can be made again")
    saved = _command(own, "backup", "Write the workspace to one archive; the app may run meanwhile.", _backup)
    saved.add_argument("file", type=Path, metavar="FILE", help="such as backup.tar or backup.tar.gz")
    restored = _command(own, "restore", "Make a workspace from an archive.", _restore)
    restored.add_argument("file", type=Path, metavar="FILE")
    restored.add_argument("--overwrite", action="store_true", help="replace what the workspace holds now")


def _command(commands: Any, name: str, text: str, run: Any) -> Parser:
    parser = command(commands, name, text, run)
    default = Path(os.environ.get("CRM_WORKSPACE") or "workspace")
    parser.add_argument("--workspace", type=Path, default=default, metavar="DIR", help=f"default: {default}")
    return parser


def _check(args: argparse.Namespace) -> None:
    from crm_models.upkeep.checking import check_workspace

    state = check_workspace(args.workspace, repair=args.repair)
    for line in state.lines():
        print(line)
    if state.damaged:
        what = "1 damage" if len(state.damaged) == 1 else f"{len(state.damaged):,} damages"
        raise DataError(f"{args.workspace}: expected everything to be sound, found {what} that no repair can mend")


def _backup(args: argparse.Namespace) -> None:
    from crm_models.upkeep.backup import backup

    about = backup(args.workspace, args.file)
    print(f"{args.file}: {_said(about)} of {args.workspace}")


def _restore(args: argparse.Namespace) -> None:
    from crm_models.upkeep.backup import restore

    about = restore(args.file, args.workspace, overwrite=args.overwrite)
    print(f"{args.workspace}: {_said(about)} restored, as of {about['made_at']}")
    if not args.quiet and str(args.workspace.resolve()) != about["workspace"]:
        print(f"note: paths in it were changed from {about['workspace']}", file=sys.stderr)


def _said(about: dict[str, Any]) -> str:
    files = about["content"]
    return f"{len(files):,} files, {sum(facts['bytes'] for facts in files.values()) / 1e6:,.1f} MB"
