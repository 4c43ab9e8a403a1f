"""Prefetch one item in a background thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """The same items in the same order, each computed in a background thread while the caller uses the one before.

    An error is raised at the item that caused it. Useful where computing an item waits for the disk or fills one core
    while the caller fills another. One extra item is held in memory.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        pending = executor.submit(list, islice(items, 1))  # a list of the next item; empty after the last
        while ready := pending.result():
            pending = executor.submit(list, islice(items, 1))
            yield from ready
