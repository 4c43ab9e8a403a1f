"""Items made ahead: all of them, in order, one at a time ahead, and errors where they belong."""

import threading

import pytest

from crm_models.core.prefetch import prefetch


def test_all_items_come_in_order_also_empty_ones():
    assert list(prefetch(iter([3, 0, None, "", 1]))) == [3, 0, None, "", 1]
    assert list(prefetch(iter([]))) == []


def test_the_next_item_is_made_while_one_is_used():
    made = [threading.Event() for _ in range(3)]

    def items():
        for k, event in enumerate(made):
            event.set()
            yield k

    for k in prefetch(items()):
        if k + 1 < len(made):
            assert made[k + 1].wait(timeout=60)  # while item k is still in use here
        if k + 2 < len(made):
            assert not made[k + 2].is_set()  # but no further ahead than that


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("the second part is broken")

    stream = prefetch(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="second part"):
        next(stream)


def test_who_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    stream = prefetch(iter(range(100)))
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before
