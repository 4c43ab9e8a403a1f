"""Saved scores come back as they were, in the order of the customers, and never half written."""

import numpy as np
import pytest

from crm_models.core.errors import DataError
from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.inference.score_store import read_scores, scores_key, write_scores


def some(n: int, first: int = 0, plans: bool = True) -> CustomerScores:
    rng = np.random.default_rng(first)
    decoded = DecodedPlans(
        actions=rng.integers(1, 9, (n, 3)),
        step_p=rng.random((n, 3)),
        plan_p=rng.random(n),
        runner_up=rng.integers(0, 9, (n, 3)),
        runner_up_p=rng.random((n, 3)),
    )
    ids = np.array([f"=c{first + k}\n<b>" for k in range(n)], dtype=object)
    churn_p = np.where(np.arange(n) % 3 == 0, np.nan, rng.random(n))
    return CustomerScores(customer_id=ids, churn_p=churn_p, n_events=np.arange(n), plans=decoded if plans else None)


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path):
    first, second = some(5), some(4, first=5)
    assert write_scores(tmp_path / "s.parquet", iter([first, second]), key="run of cohort") == 9
    back = read_scores(tmp_path / "s.parquet")
    assert back.customer_id.tolist() == [*first.customer_id, *second.customer_id]
    np.testing.assert_array_equal(back.churn_p, np.concatenate([first.churn_p, second.churn_p]))
    for name in ("actions", "step_p", "plan_p", "runner_up", "runner_up_p"):
        np.testing.assert_array_equal(
            getattr(back.plans, name), np.concatenate([getattr(first.plans, name), getattr(second.plans, name)])
        )


def test_without_a_sequence_model_there_are_no_plans(tmp_path):
    write_scores(tmp_path / "s.parquet", [some(3, plans=False)], key="k")
    assert read_scores(tmp_path / "s.parquet").plans is None


def test_the_key_is_read_without_the_table(tmp_path):
    write_scores(tmp_path / "s.parquet", [some(3)], key="run 1 of cohort 2")
    assert scores_key(tmp_path / "s.parquet") == "run 1 of cohort 2"
    assert scores_key(tmp_path / "none.parquet") is None
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    assert scores_key(tmp_path / "junk.parquet") is None


def test_a_failure_on_the_way_leaves_the_old_file(tmp_path):
    file = tmp_path / "s.parquet"
    write_scores(file, [some(3)], key="old")

    def breaking():
        yield some(2)
        raise RuntimeError("the machine caught fire")

    with pytest.raises(RuntimeError, match="fire"):
        write_scores(file, breaking(), key="new")
    assert scores_key(file) == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["s.parquet"]


def test_nobody_to_score_is_an_error(tmp_path):
    with pytest.raises(DataError, match="found none"):
        write_scores(tmp_path / "s.parquet", [], key="k")
    with pytest.raises(DataError, match="unreadable"):
        read_scores(tmp_path / "s.parquet")
