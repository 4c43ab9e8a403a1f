"""Time estimates: scaled from earlier runs where there are any, and counted down while a training is under way."""

from dataclasses import replace

import pytest

from crm_models.core.presets import preset
from crm_models.core.records import EpochEnd
from crm_models.runs.eta import START_SECONDS, Estimate, PastRun, estimate, past_run, progress

CONFIG = preset("standard").with_epochs(10)


def epoch(model: str, number: int, seconds: float) -> EpochEnd:
    return EpochEnd(model=model, epoch=number, n_epochs=10, train_loss=1.0, valid_loss=None, best=True, seconds=seconds)


def test_a_run_on_half_the_customers_took_half_the_time():
    past = PastRun(config=CONFIG, customers=650, events_each=20, epoch_seconds={"sequence": 2.0, "churn": 1.0})
    made = estimate(CONFIG, customers=2000, events_each=20, past=[past])  # 65 % of 2,000 train: 1,300
    assert made.measured
    assert made.epoch_seconds == pytest.approx({"sequence": 4.0, "churn": 2.0})
    assert made.seconds == pytest.approx(START_SECONDS + 10 * 4.0 + 20 * 2.0)  # a refit takes ten more at most


def test_a_run_of_another_shape_is_no_measurement():
    other = replace(CONFIG, sequence=replace(CONFIG.sequence, d_model=128))
    past = PastRun(config=other, customers=650, events_each=20, epoch_seconds={"sequence": 2.0, "churn": 1.0})
    made = estimate(CONFIG, customers=2000, events_each=20, past=[past])
    assert not made.measured
    assert made.epoch_seconds["churn"] == pytest.approx(2.0)
    assert 0.1 < made.epoch_seconds["sequence"] < 10


def test_more_customers_more_epochs_or_a_wider_model_take_longer():
    base = estimate(CONFIG, customers=2000, events_each=20).seconds
    wide = replace(CONFIG, sequence=replace(CONFIG.sequence, d_model=128))
    assert estimate(CONFIG, customers=20_000, events_each=20).seconds > 5 * base
    assert estimate(CONFIG.with_epochs(20), customers=2000, events_each=20).seconds > base
    assert estimate(wide, customers=2000, events_each=20).seconds > base
    lone = replace(CONFIG, churn=replace(CONFIG.churn, n_members=1))
    members = [estimate(c, customers=2000, events_each=20).epoch_seconds["churn"] for c in (lone, CONFIG)]
    assert members[1] == pytest.approx(members[0])  # each customer trains one of them
    assert estimate(replace(CONFIG, models=("churn",)), customers=2000, events_each=20).seconds < base


def test_a_result_becomes_a_measurement():
    about = {"config": CONFIG.to_dict(), "customers": {"train": 1300, "valid": 300, "test": 400}}
    result = {"models": {"sequence": {"epochs": 4, "seconds": 6.0}, "churn": {"epochs": 0, "seconds": 0.0}}}
    past = past_run(about, result, events_each=21.5)
    assert (past.config, past.customers, past.events_each) == (CONFIG, 1300, 21.5)
    assert past.epoch_seconds == {"sequence": 1.5}


def test_progress_counts_down_the_model_at_work_and_expects_the_other():
    expected = Estimate(epoch_seconds={"sequence": 9.0, "churn": 1.0}, seconds=100.0, measured=False)
    assert progress(CONFIG, [], expected) == (0.0, 10 * 9.0 + 20 * 1.0)
    share, left = progress(CONFIG, [epoch("sequence", 1, 3.0), epoch("sequence", 2, 6.0)], expected)
    assert left == pytest.approx(8 * 3.0 + 20 * 1.0)
    assert share == pytest.approx(6 / (6 + 44))


def test_a_model_that_stopped_early_is_done_when_the_next_one_begins():
    expected = Estimate(epoch_seconds={"sequence": 9.0, "churn": 1.0}, seconds=100.0, measured=False)
    share, left = progress(CONFIG, [epoch("sequence", 4, 12.0), epoch("churn", 5, 5.0)], expected)
    assert left == pytest.approx(15.0)
    assert share == pytest.approx(17 / 32)


def test_a_refit_knows_how_many_epochs_are_left():
    expected = Estimate(epoch_seconds={"churn": 1.0}, seconds=100.0, measured=False)
    under_way = replace(epoch("churn", 5, 10.0), n_epochs=8, final_refit=True)
    assert progress(replace(CONFIG, models=("churn",)), [under_way], expected) == pytest.approx((10 / 16, 6.0))
