"""What keeps a GPU busy, shown on the processor: nothing in a step asks for a number, and bfloat16 loses little."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crm_models.models.runtime import prepare_torch
from crm_models.training import objectives
from crm_models.training.loop import train
from crm_models.training.state import TrainingState
from tests.small_cohorts import SMALL, random_cohort, training_data, with_churn, with_sequence

aten = torch.ops.aten
ASKING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}


class Questions(TorchDispatchMode):
    """Counts what a GPU would have to be waited for: numbers that are read, shapes that depend on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_mask = func is aten.index.Tensor and any(k is not None and k.dtype == torch.bool for k in args[1])
        self.count += func in ASKING or is_mask
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def small():
    return training_data(random_cohort(120, shortest=4, as_of=60.0))


def test_every_kind_of_question_is_counted():
    with Questions() as asked:
        x = torch.arange(3.0)
        float(x.sum())
        x[x > 1]
        x.nonzero()
        bool((x > 1).any())
    assert asked.count == 4


@pytest.mark.parametrize("model", ["sequence", "churn"])
def test_an_epoch_asks_for_two_losses_however_many_batches_it_has(model, small):
    asked, config = [], with_churn(SMALL, use_additive=False)  # which is fitted before the first epoch
    for batch_size in (16, None):
        fitting = replace(config.training(model), batch_size=batch_size, n_epochs=1)
        state = TrainingState.start(model, replace(config, **{f"{model}_training": fitting}), small[0])
        with Questions() as questions:
            list(train(state, small[1]))
        asked.append(questions.count)
    assert asked == [2, 2]


def test_training_in_bfloat16_gives_about_the_same_losses(small, monkeypatch):
    """As on a GPU; also with logits in pieces, with the paper's blocks, and where only outcomes are learned from."""
    monkeypatch.setattr(objectives, "SCORES_AT_ONCE", 40)
    for config in (SMALL, with_sequence(SMALL, norm_first=False, rotary_positions=False, tie_weights=False)):
        losses = []
        for kinds in ((), ("cpu",)):
            monkeypatch.setattr(objectives, "IN_BFLOAT16", kinds)
            state = TrainingState.start("sequence", config.with_epochs(1), small[0])
            losses.append([epoch.train_loss for epoch in train(state, small[1])])
            assert {weight.dtype for weight in state.module.parameters()} == {torch.float32}
        assert losses[0] != losses[1]
        assert losses[0] == pytest.approx(losses[1], rel=5e-3)


@pytest.mark.parametrize("model", ["sequence", "churn"])
def test_no_operation_of_a_training_refuses_to_be_deterministic(model, small):
    ends = []
    for deterministic in (False, True):
        prepare_torch(1, deterministic)
        try:
            state = TrainingState.start(model, SMALL.with_epochs(1), small[0])
            ends += [epoch.train_loss for epoch in train(state, small[1])]
        finally:
            prepare_torch(1)
    assert ends[0] == ends[1]
