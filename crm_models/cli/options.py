"""Pieces that every command of the command line shares: the parser, common options, and readers of option values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the usage in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Say it and exit with 2."""
        print(f"error: {message}; `{self.prog} --help` shows what is possible", file=sys.stderr)
        raise SystemExit(2)


def command(commands: Any, name: str, help_text: str, run: Callable[[argparse.Namespace], None]) -> Parser:
    """A command with the option that all have; `run` is called with what was given."""
    parser: Parser = commands.add_parser(name, help=help_text, description=help_text)
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(run=run)
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """The options of every command that runs a model."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU where there is one"
    )
    parser.add_argument("--threads", type=whole(1), help="threads that compute (default: all cores)")


def whole(least: int) -> Callable[[str], int]:
    """A reader of whole numbers that are at least `least`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, found {text!r}") from None
        if not least <= value < 2**32:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} up, found {value}")
        return value

    return read


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def positive(text: str) -> float:
    """A number above 0 and below a million."""
    value = number(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text!r}")
    return value


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None
