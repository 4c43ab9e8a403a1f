"""The next part of a stream is made while the one before is used."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Made = TypeVar("Made")


def prefetch(items: Iterator[Made]) -> Iterator[Made]:
    """The same items in the same order, one of them ahead, made in a thread of its own; errors come where they belong.

    It pays where making waits for the disk or keeps one core busy, and using keeps another. One item more is held.
    """
    with ThreadPoolExecutor(max_workers=1) as maker:
        coming = maker.submit(list, islice(items, 1))  # a list of the next item; an empty one after the last
        while found := coming.result():
            coming = maker.submit(list, islice(items, 1))
            yield from found
