"""Shared parts of the command line: the parser, common options, and types of option values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from crm_models.core.engines import ENGINES
from crm_models.core.errors import ConfigError
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PLAN_MODES
from crm_models.planning.policy import Policy


class Parser(argparse.ArgumentParser):
    """Argument parser that reports wrong usage in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        print(f"error: {message}; `{self.prog} --help` shows the usage", file=sys.stderr)
        raise SystemExit(2)


def command(commands: Any, name: str, help_text: str, run: Callable[[argparse.Namespace], None]) -> Parser:
    """Add a command with the common options; `run` is called with the parsed arguments."""
    parser: Parser = commands.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run)
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that runs a model."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    parser.add_argument("--threads", type=whole(1), help="number of CPU threads (default: all cores)")


def add_engine(
    parser: argparse.ArgumentParser,
    workers: str = "processes at a time, of one thread and some 0.5 GB each (default: as they pay)",
    default: int | None = None,
) -> None:
    """Add the options of every command that several processes can do; by default, one goes through a cohort's parts."""
    parser.add_argument(
        "--engine", choices=ENGINES, default="local", help="local: processes on this machine; ray: a Ray cluster"
    )
    parser.add_argument("--workers", type=whole(1), default=default, help=workers)
    parser.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster; without it, Ray is started here")


def add_allow_drift(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that reads another cohort with a run."""
    parser.add_argument(
        "--allow-drift",
        action="store_true",
        help="go on although the customers differ so much from the training customers that results are nonsense",
    )


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """Add the option of every command that tells who is at risk."""
    about = f"churn risk above which a customer is at risk (default: {DEFAULT_THRESHOLD})"
    parser.add_argument("--threshold", type=share, default=DEFAULT_THRESHOLD, help=about)


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that plans."""
    add_threshold(parser)
    parser.add_argument(
        "--mode",
        choices=PLAN_MODES,
        default="override",
        help="override: retention actions in all steps of customers at risk; graded: in more steps at a higher risk",
    )
    parser.add_argument("--intensity", type=float, default=1.0, help="the paper's alpha, for --mode graded")
    parser.add_argument(
        "--retention", action="append", metavar="ACTION", help="a retention action; give three to replace the defaults"
    )


def computing(args: argparse.Namespace) -> dict[str, Any]:
    """What `add_device` and `add_engine` asked for, as arguments of a verb."""
    given = vars(args)
    return {name: given[name] for name in ("device", "threads", "engine", "workers", "address") if name in given}


def policy_of(args: argparse.Namespace) -> Policy:
    """The policy that `add_policy` asked for."""
    return Policy(
        threshold=args.threshold,
        mode=args.mode,
        intensity=args.intensity,
        retention_actions=tuple(args.retention or DEFAULT_RETENTION_ACTIONS),
    )


def pairs(given: Sequence[str], expected: str) -> dict[str, str]:
    """The values of a repeated option NAME=VALUE by name; `ConfigError` for one that is no pair."""
    found = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not (equals and name and value):
            raise ConfigError(f"{expected}; found {pair!r}")
        found[name] = value
    return found


def whole(least: int) -> Callable[[str], int]:
    """An option type: whole numbers from `least` up."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}") from None
        if not least <= value < 2**32:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, found {value}")
        return value

    return read


def share(text: str) -> float:
    """An option type: numbers from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def positive(text: str) -> float:
    """An option type: numbers above 0 and below a million."""
    value = number(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text!r}")
    return value


def number(text: str) -> float:
    """An option type: any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None
