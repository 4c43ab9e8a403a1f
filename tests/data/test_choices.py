"""Choices from a catalogue: by hand, and against all plans one by one, for any parameters."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_models.core.schema import N_STEPS
from crm_models.data.choices import Choices
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.storage import save_cohort
from crm_models.data.truth import believe, load_truth, outlook

EVEN = ((0.2,) * 5,) * 3

SMALL = Choices(
    signal=1.0,
    appeal=((3.0, 1.0, 1.0), (1.0, 1.0, 3.0)),
    drift=((1.0, 0.0), (0.0, 1.0)),
    sequel=(1, -1, -1),
    sequel_p=0.5,
    rating=(EVEN, ((0.0, 0.0, 0.0, 0.0, 1.0),) * 3),
)
"""Two tastes and three items; the second item is the sequel of the first; the second taste always gives five stars."""


def test_the_next_item_by_hand():
    nothing, only_first = np.array([[False] * 3]), np.array([[True, False, False]])
    np.testing.assert_allclose(SMALL.next_p(np.array([0]), np.array([-1]), nothing), [[0.6, 0.2, 0.2]])
    # Half the time the sequel; else one of the other two by appeal, for the second taste 1 to 3.
    after_first = SMALL.next_p(np.array([1]), np.array([0]), only_first)
    np.testing.assert_allclose(after_first, [[0.0, 0.5 + 0.5 * 0.25, 0.5 * 0.75]])
    half = replace(SMALL, signal=0.5).next_p(np.array([1]), np.array([0]), only_first)
    np.testing.assert_allclose(half, 0.5 / 3 + 0.5 * after_first)


def test_the_taste_by_hand():
    prior, item = np.full((3, 2), 0.5), np.array([0, 0])
    # Of the first item tastes draw 0.6 and 0.2. The rating 5 has 0.2 and 1; without one it says nothing.
    taste, last, chosen = SMALL.believe(prior, np.array([0, 1]), item, np.array([5.0, np.nan]))
    np.testing.assert_allclose(taste, [[0.12 / 0.32, 0.2 / 0.32], [0.75, 0.25], [0.5, 0.5]])
    assert last.tolist() == [0, 0, -1]
    assert chosen.sum(axis=1).tolist() == [1, 1, 0]
    swapped = replace(SMALL, drift=((0.0, 1.0), (1.0, 0.0)))
    twice = swapped.believe(prior[:1], np.array([0, 0]), np.array([0, 2]), np.array([np.nan, np.nan]))[0]
    # First the other taste, then the third item at half of 1/2 (first taste now) and of 3/4 (second taste now).
    np.testing.assert_allclose(twice[0, 1], 0.6 * 0.375 / (0.6 * 0.375 + 0.2 * 0.25))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), signal=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_outlook_is_the_sum_over_all_plans(seed, signal):
    rng, n_tastes, n_items, n = np.random.default_rng(seed), 2, 6, 4
    choices = Choices(
        signal=signal,
        appeal=tuple(map(tuple, rng.random((n_tastes, n_items)))),
        drift=tuple(map(tuple, rng.dirichlet(np.ones(n_tastes), n_tastes))),
        sequel=(1, 2, -1, 5, -1, 0),
        sequel_p=float(rng.random()),
        rating=(((0.2,) * 5,) * n_items,) * n_tastes,
    )
    taste, last = rng.dirichlet(np.ones(n_tastes), n), np.array([-1, 0, 1, 5])
    chosen = np.zeros((n, n_items), dtype=bool)
    chosen[np.arange(n), last] = chosen[np.arange(n), rng.integers(0, n_items, n)] = True
    chosen[0] = False
    found = choices.outlook(taste, last, chosen)
    plans = np.array(list(product(range(n_items), repeat=N_STEPS)))
    for row in range(n):
        alike = [np.repeat(values[row : row + 1], len(plans), axis=0) for values in (taste, last, chosen)]
        p = choices.plan_p(*alike, plans)
        assert p.sum() == pytest.approx(1)
        assert found.plan_p[row] == pytest.approx(p.max())
        assert found.entropy[row] == pytest.approx(-(p[p > 0] * np.log(p[p > 0])).sum())
        for step in range(N_STEPS):
            by_item = np.bincount(plans[:, step], weights=p, minlength=n_items)
            np.testing.assert_allclose(found.by_step[step, row], by_item, atol=1e-12)
        if signal == 1:
            assert not chosen[row, found.plan[row]].any()


def test_the_truth_of_choices_survives_json(tmp_path):
    cohort, truth = generate(ScenarioSettings(scenario="churn", customers=30))
    loaded = load_truth(save_cohort(cohort, tmp_path / "c", extra={"truth.json": truth.to_json()}))
    assert loaded == truth
    before, after = (outlook(t, believe(t, cohort)) for t in (truth, loaded))
    np.testing.assert_array_equal(before.by_step, after.by_step)
