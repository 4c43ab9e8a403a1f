"""Muon by hand and by law: what a step is, what it does not depend on, and that it learns what there is to learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crm_models.training.muon import AS_ADAM, Muon, orthogonal


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight_with(gradient: torch.Tensor, value: float = 0.0) -> nn.Parameter:
    weight = nn.Parameter(torch.full_like(gradient, value))
    weight.grad = gradient
    return weight


@pytest.mark.parametrize("shape", [(32, 32), (96, 32), (32, 96), (1, 5)])
def test_the_singular_values_of_what_is_stepped_are_near_one(shape):
    found = torch.linalg.svdvals(orthogonal(drawn(3, *shape)))
    assert found.max() < 1.3
    assert found[:, : max(1, int(0.9 * found.shape[1]))].min() > 0.6


def test_what_is_stepped_keeps_the_singular_vectors():
    """Odd polynomials change singular values alone, so U and V of the gradient diagonalise the step."""
    gradient = drawn(8, 5)
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    inner = u.mT @ orthogonal(gradient[None])[0] @ v.mT
    assert torch.allclose(inner, torch.diag(inner.diagonal()), atol=1e-4)


def test_the_size_of_a_gradient_does_not_matter():
    one, other = weight_with(drawn(6, 4)), weight_with(1000 * drawn(6, 4))
    for weight in (one, other):
        Muon([weight], lr=0.1).step()
    assert torch.allclose(one, other, atol=1e-5)


def test_the_first_step_by_hand():
    """A matrix of rank one, s * u v', becomes u v' times the polynomial's value after five turns, which is near one."""
    u, v = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 0.0, 0.0])
    weight = weight_with(7 * torch.outer(u, v), value=1.0)
    Muon([weight], lr=0.1, weight_decay=0.5, stretch=2.0).step()
    s = 1.0
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    length = 0.1 * 2.0 * AS_ADAM * 3**0.5
    assert torch.allclose(weight, 1 - 0.1 * 0.5 - length * s * torch.outer(u, v), atol=1e-5)
    assert 0.6 < s < 1.3


def test_maps_that_lie_stacked_are_stepped_as_if_alone():
    gradient = drawn(12, 4)
    stacked = weight_with(gradient)
    alone = [weight_with(part) for part in gradient.chunk(3)]
    Muon([{"params": [stacked], "maps": 3}]).step()
    Muon(alone).step()
    assert torch.allclose(stacked, torch.cat(list(alone)), atol=1e-7)


def test_weights_of_one_shape_do_not_touch_each_other():
    gradients = [drawn(4, 4, seed=k) for k in range(3)]
    together, alone = [weight_with(g) for g in gradients], [weight_with(g) for g in gradients]
    optimizer = Muon(together)
    optimizer.step()
    for weight in alone:
        Muon([weight]).step()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(together, alone, strict=True))


def test_weights_without_a_gradient_and_zero_gradients_stay():
    still, zero = nn.Parameter(drawn(3, 3)), weight_with(torch.zeros(3, 3), value=2.0)
    before = still.detach().clone()
    Muon([still, zero]).step()
    assert torch.equal(still, before)
    assert torch.equal(zero, torch.full((3, 3), 2.0))


def test_a_linear_map_is_found():
    wanted, inputs = drawn(4, 6), drawn(200, 6, seed=1)
    found = nn.Linear(6, 4, bias=False)
    optimizer = Muon(found.parameters(), lr=0.2)
    losses = []
    for k in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - k / 200)
        loss = (found(inputs) - inputs @ wanted.T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.001 * losses[0]


def test_a_closure_is_refused():
    with pytest.raises(ValueError, match="no closure"):
        Muon([nn.Parameter(torch.zeros(2, 2))]).step(lambda: 0.0)


def test_a_matrix_and_its_transpose_are_stepped_alike():
    """They share the turns of one stack of matrices, whichever side is longer."""
    tall, wide = weight_with(drawn(12, 4)), weight_with(drawn(12, 4).mT.contiguous())
    Muon([tall, wide], lr=0.1).step()
    assert torch.allclose(tall, wide.mT, atol=1e-6)
