"""The check of a GPU, small, on the processor: that it runs, and that a device agrees with itself."""

import pytest
import torch

from crm_models.bench import card


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run the check itself")
def test_without_a_gpu_the_check_says_so_and_runs_on_the_processor():
    found = card.measure()
    assert found["gpu"].startswith("none was found")
    (small,) = (found[shape] for shape in card.SMALL)
    assert (small["busy_share"], small["synchronisations_within_an_epoch"], small["peak_mib"]) == (None, None, None)
    assert small["train_loss"] == small["train_loss_of_the_processor"]
    assert small["valid_loss"] == small["valid_loss_of_the_processor"]
    assert (small["repeats_to_the_digit"], small["equal_plans"]) == (True, 1.0)
    assert min(small["sequences_per_second"], small["plans_per_second"], small["churn_scores_per_second"]) > 0
    assert 0 < small["matrix_share"] < 1
