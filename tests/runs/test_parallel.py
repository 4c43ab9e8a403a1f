"""Several processes train as one: the same losses to rounding, one set of files, resumed by any number."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from crm_models.core.errors import RunError
from crm_models.data.storage import save_cohort
from crm_models.runs.pipeline import fit, start_run
from crm_models.training import parallel
from tests.small_cohorts import SMALL, random_cohort, with_churn, with_sequence

# Batches of 5 do not divide evenly, and the last one may be smaller than the number of processes.
TRAINING = replace(SMALL.sequence_training, n_epochs=2, batch_size=5, average_weights=0.9)
CONFIG = replace(
    with_sequence(with_churn(SMALL, dropout=0.0), dropout=0.0),
    sequence_training=TRAINING,
    churn_training=replace(TRAINING, final_refit=True),
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return save_cohort(random_cohort(40, shortest=4, as_of=60.0), tmp_path_factory.mktemp("parallel") / "cohort")


def test_two_processes_train_as_one_and_one_goes_on_where_they_were_left(cohort, tmp_path):
    alone = list(fit(start_run(cohort, tmp_path / "one", CONFIG)))
    run = start_run(cohort, tmp_path / "two", CONFIG)
    together = fit(run, workers=2)
    events = [next(together) for _ in alone[:-1]]
    together.close()  # the other process is ended
    assert parallel.world() == 1
    events += list(fit(run))[-1:]
    assert [(e.model, e.epoch, e.best) for e in events] == [(e.model, e.epoch, e.best) for e in alone]
    for loss in ("train_loss", "valid_loss"):
        expected = [getattr(e, loss) or 0.0 for e in alone]
        np.testing.assert_allclose([getattr(e, loss) or 0.0 for e in events], expected, rtol=1e-4)


def test_a_process_that_ends_is_an_error_that_says_how_to_go_on():
    with (
        pytest.raises(RunError, match=r"expected 2 processes .* `train --resume` goes on"),
        parallel.group(2, partial(parallel.LocalFollower, ("--no-such-option",))),
    ):
        parallel.mean([(torch.ones(()), 1)])
    assert parallel.world() == 1
