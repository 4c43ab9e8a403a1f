"""The next part of a stream is made while the one before is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Made = TypeVar("Made")


def ahead(items: Iterator[Made]) -> Iterator[Made]:
    """The same items in the same order, one of them ahead, made in a thread of its own; errors come where they belong.

    It pays where making waits for the disk or keeps one core busy, and using keeps another. One item more is held.
    """
    with ThreadPoolExecutor(max_workers=1) as maker:
        coming = maker.submit(_next, items)
        while item := coming.result():
            coming = maker.submit(_next, items)
            yield item[0]


def _next(items: Iterator[Made]) -> tuple[Made] | None:
    """The next item, wrapped so that no item looks like the end; None after the last one."""
    for item in items:
        return (item,)
    return None
