"""The check of a GPU, small, on the processor: that it runs, and that a device agrees with itself."""

import pytest
import torch

from crm_models.bench import card


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run the check itself")
def test_without_a_gpu_the_check_says_so_and_runs_on_the_processor(monkeypatch):
    monkeypatch.setattr(card, "SHAPES", {"short": (9, ("max_events=6", "d_model=16", "d_feedforward=32"))})
    found = card.measure(customers=60, actions=30, scored=100, epochs=1)
    assert found["gpu"].startswith("none was found")
    short = found["short"]
    assert (short["busy_share"], short["synchronisations_within_an_epoch"], short["peak_mib"]) == (None, None, None)
    assert short["train_loss"] == short["train_loss_of_the_processor"]
    assert short["valid_loss"] == short["valid_loss_of_the_processor"]
    assert (short["repeats_to_the_digit"], short["equal_plans"]) == (True, 1.0)
    assert short["sequences_per_second"] > 0
    assert 0 < short["matrix_share"] < 1
