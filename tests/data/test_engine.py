"""The engine sorts like numpy: stable, in memory or spilled."""

import numpy as np
import pytest

from crm_models.data import engine


@pytest.mark.parametrize("large", [10**9, 1])
def test_events_are_ordered_by_customer_and_time_and_ties_keep_their_order(monkeypatch, large):
    monkeypatch.setattr(engine, "LARGE", large)
    rng = np.random.default_rng(0)
    customer = rng.integers(0, 50, 5_000).astype(np.int32)
    when = rng.integers(-20, 20, 5_000) / 4
    order = engine.order_of(customer, when)
    assert order.tolist() == sorted(range(5_000), key=lambda row: (customer[row], when[row], row))
