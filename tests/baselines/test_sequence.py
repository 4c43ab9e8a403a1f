"""The simple rules: numbers a reader can redo, what they learn, and what they must not look at."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from crm_models.baselines.sequence import count, last_actions, popular, sequence_baselines
from crm_models.core.records import SequencePredictions
from crm_models.data.cohort import Cohort, select
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, outcomes, true_steps


def cohort_of(histories: Sequence[str], actions: str = "abc", **columns: Sequence[object]) -> Cohort:
    """One customer per text, one action per letter, one event per day; further columns of the customers by name."""
    events = [
        (f"c{who:04d}", letter, float(day)) for who, text in enumerate(histories) for day, letter in enumerate(text)
    ]
    return Cohort.build(
        name="toy",
        source="test",
        customers=pd.DataFrame({"customer_id": [f"c{who:04d}" for who in range(len(histories))], **columns}),
        interactions=pd.DataFrame(events, columns=["customer_id", "action", "timestamp"]) if events else None,
        actions=pd.DataFrame({"action": list(actions)}),
    )


def encoded(cohort: Cohort) -> tuple[FeatureEncoder, CohortArrays]:
    encoder = FeatureEncoder.fit(cohort, np.arange(cohort.n_customers), None)
    return encoder, encoder.encode(cohort)


def answers(cohort: Cohort, rows: Sequence[int], found: Outcomes | None = None) -> dict[str, SequencePredictions]:
    """Baselines fitted on the customers `rows`, asked about all whose outcome is known."""
    encoder, arrays = encoded(cohort)
    return sequence_baselines(arrays, np.array(rows), arrays, found or outcomes(cohort), encoder)


def test_histories_and_true_steps_are_read_off_the_events():
    cohort = cohort_of(["abcab", "cb"])
    _, arrays = encoded(cohort)
    found = Outcomes(rows=np.array([0, 1]), n_history=np.array([2, 1]), n_outcome=np.array([3, 1]))
    assert last_actions(arrays, found).tolist() == [2, 3]
    assert true_steps(arrays.events, found).tolist() == [[3, 1, 2], [2, 0, 0]]


def test_popularity_is_counted_on_the_customers_fitted_on():
    # a: 5 of 8 events, c: 2, b: 1; one event in all is spread over the three actions.
    cohort = cohort_of(["aaac", "aabc", "bbbbbbbb"])
    told = answers(cohort, [0, 1])["popular"]
    p = (np.array([5, 1, 2]) + 1 / 3) / 9
    assert told.customer_id.tolist() == ["c0000", "c0001", "c0002"]
    assert told.plan.tolist() == [[1, 1, 1]] * 3
    np.testing.assert_allclose(told.plan_p, p[0] ** 3)
    np.testing.assert_allclose(told.actual_log_p[1], np.log(p[[0, 1, 2]]))
    assert told.rank.tolist() == [0, 0, 2]  # true next: a, a, and b, which is the least popular


def test_recent_popularity_looks_at_the_latest_fifth():
    cohort = cohort_of(["aaaaaaaabb", "aaaaaaaacb"])
    told = answers(cohort, [0, 1])
    assert told["popular"].plan[0].tolist() == [1, 1, 1]
    assert told["recent"].plan[0].tolist() == [2, 2, 2]  # of the last two days: b b and c b


def test_repeat_last_repeats_and_ranks_the_rest_by_popularity():
    cohort = cohort_of(["bbbabb", "accccc"])
    counts = count(encoded(cohort)[1], np.arange(2), 3)
    told = answers(cohort, [0, 1])["repeat_last"]
    # 3 + 4 of 10 successive pairs repeat; histories end with b and c. By popularity: b, c, a (both 5 of 12: lower id).
    share, (a, b, c) = (7 + 0.5) / 11, counts.popular
    assert told.plan.tolist() == [[2, 2, 2], [3, 3, 3]]
    assert told.rank.tolist() == [2, 0]  # true next: a behind b and c; c itself
    stay_b, stay_c = share + (1 - share) * b, share + (1 - share) * c
    np.testing.assert_allclose(told.actual_log_p[0], np.log([(1 - share) * a, (1 - share) * b, stay_b]))
    np.testing.assert_allclose(told.plan_p, [stay_b**3, stay_c**3])


def test_markov_learns_a_cycle_and_popularity_cannot():
    cohort = cohort_of([("abc" * 5)[s:][:12] for s in (0, 1, 2)] * 20)
    told = answers(cohort, range(45))
    for name in ("markov", "markov_2"):
        assert (told[name].plan == told[name].actual).all()
        assert told[name].rank.max() == 0
        assert told[name].actual_log_p.min() > np.log(0.99)
        assert told[name].plan_p.min() > 0.97
    assert (told["popular"].plan == told["popular"].actual).mean() == pytest.approx(1 / 3)


def test_looking_at_two_actions_learns_what_one_cannot_tell():
    cohort = cohort_of([("aabb" * 6)[s:][:14] for s in range(4)] * 15, actions="ab")
    told = answers(cohort, range(40))
    assert (told["markov_2"].plan == told["markov_2"].actual).all()
    assert (told["markov"].plan == told["markov"].actual).mean() == pytest.approx(0.5, abs=0.1)


def test_a_first_event_alone_is_enough_to_be_asked():
    cohort = cohort_of(["abca", "bcab", "cabc"] * 10)  # outcomes are three long: histories have one event
    told = answers(cohort, range(30))
    assert (told["markov_2"].plan == told["markov_2"].actual).all()
    assert told["markov_2"].n_events.tolist() == [1] * 30


def test_with_one_event_of_history_both_markov_rules_say_the_same_of_the_next():
    cohort = cohort_of(["aaba", "abba", "aabb", "baab"] * 8, actions="ab")  # (a, a) is always followed by b, a is not
    told = answers(cohort, range(32))
    np.testing.assert_allclose(told["markov_2"].actual_log_p[:, 0], told["markov"].actual_log_p[:, 0])
    assert np.abs(told["markov_2"].actual_log_p - told["markov"].actual_log_p)[:, 1:].max() > 0.1


@pytest.mark.parametrize("name", ["popular", "recent", "repeat_last", "markov", "markov_2"])
def test_the_probabilities_of_all_next_actions_add_up_to_one(name):
    rng = np.random.default_rng(0)
    past = ["".join(rng.choice(list("abcd"), 7)) for _ in range(12)]
    cohort = cohort_of([text + after for text in past for after in "abcd"], actions="abcd")
    n = cohort.n_customers
    found = Outcomes(rows=np.arange(n), n_history=np.full(n, 7), n_outcome=np.ones(n, np.int64))
    told = answers(cohort, range(24), found)[name]
    np.testing.assert_allclose(np.exp(told.actual_log_p[:, 0]).reshape(12, 4).sum(axis=1), 1.0)
    assert (np.sort(told.rank.reshape(12, 4), axis=1) == np.arange(4)).all()
    assert (told.actual_log_p[:, 1:] == 0).all()  # these steps are not known


def test_what_happens_to_test_customers_changes_no_rule():
    told = [answers(cohort_of(["abcab", "bcabc", "cabca", after]), [0, 1, 2]) for after in ("abbbb", "abcac")]
    for name, before in told[0].items():
        after = told[1][name]
        assert before.plan.tolist() == after.plan.tolist()
        np.testing.assert_array_equal(before.actual_log_p[:3], after.actual_log_p[:3])


def test_shuffling_the_customers_shuffles_the_answers():
    rng = np.random.default_rng(1)
    cohort = cohort_of(["".join(rng.choice(list("abcd"), rng.integers(4, 12))) for _ in range(60)], actions="abcd")
    order = rng.permutation(60)
    told, shuffled = answers(cohort, range(60)), answers(select(cohort, order), range(60))
    for name, before in told.items():
        back = np.argsort(order)
        assert shuffled[name].plan[back].tolist() == before.plan.tolist()
        np.testing.assert_allclose(shuffled[name].actual_log_p[back], before.actual_log_p)
        assert shuffled[name].rank[back].tolist() == before.rank.tolist()


def test_one_action_or_one_event_each_is_enough():
    told = answers(cohort_of(["aaaa", "aaaaa"], actions="a"), [0, 1])
    for answer in told.values():
        assert answer.plan.tolist() == [[1, 1, 1]] * 2
        np.testing.assert_allclose(answer.actual_log_p, 0.0, atol=1e-12)
    lonely = cohort_of(["a", "b", "abca"])
    assert set(answers(lonely, [0, 1])) == {"popular", "recent", "repeat_last", "markov", "markov_2"}


def test_a_large_vocabulary_does_without_the_table_of_triples():
    rng = np.random.default_rng(2)
    events = pd.DataFrame(
        {
            "customer_id": np.repeat(np.arange(400), 25).astype(str),
            "action": rng.integers(0, 3000, 10_000).astype(str),
            "timestamp": np.tile(np.arange(25.0), 400),
        }
    )
    cohort = Cohort.build(name="wide", source="test", customers=None, interactions=events)
    told = answers(cohort, range(300))
    assert "markov_2" not in told
    # Nothing can be learned here, so the back-off makes of it very nearly popularity.
    loss = {name: -answer.actual_log_p[300:].mean() for name, answer in told.items()}
    assert loss["markov"] == pytest.approx(loss["popular"], rel=0.02)


def test_popular_alone_is_the_same_as_among_all():
    cohort = cohort_of(["aaac", "aabc", "bbbbbbbb"])
    encoder, arrays = encoded(cohort)
    alone = popular(arrays, np.array([0, 1]), arrays, outcomes(cohort), encoder)
    among = answers(cohort, [0, 1])["popular"]
    for name, value in vars(alone).items():
        np.testing.assert_array_equal(value, getattr(among, name))
