"""Attention and feature tokens: numbers a reader can redo, and laws that hold for any weights."""

import math

import pytest
import torch

from crm_models.models.blocks import Block, FeatureTokens, KeyValue, SelfAttention, rotation_of


def causal(n_positions: int) -> torch.Tensor:
    return torch.ones(n_positions, n_positions, dtype=torch.bool).tril()


def test_attention_by_hand():
    """Queries, keys and values are x itself: scores 1/sqrt(2) with oneself, 0 with the other."""
    attention = SelfAttention(d_model=2, n_heads=1)
    with torch.no_grad():
        attention.project_in.weight.copy_(torch.eye(2).repeat(3, 1))
        attention.project_in.bias.zero_()
        attention.project_out.weight.copy_(torch.eye(2))
        attention.project_out.bias.zero_()
    out, _, weights = attention(torch.eye(2)[None], torch.ones(2, 2, dtype=torch.bool), need_weights=True)
    own = math.exp(1 / math.sqrt(2)) / (math.exp(1 / math.sqrt(2)) + 1)  # 0.6698
    expected = torch.tensor([[own, 1 - own], [1 - own, own]])
    torch.testing.assert_close(weights[0, 0], expected)
    torch.testing.assert_close(out[0], expected)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_showing_the_weights_changes_no_result(n_heads):
    torch.manual_seed(0)
    attention, x = SelfAttention(8, n_heads), torch.randn(3, 5, 8)
    fast, _, none = attention(x, causal(5))
    shown, _, weights = attention(x, causal(5), need_weights=True)
    torch.testing.assert_close(shown, fast, atol=1e-6, rtol=1e-5)
    assert none is None
    assert weights.shape == (3, n_heads, 5, 5)


def test_rows_of_attention_sum_to_one_and_are_zero_where_masked():
    torch.manual_seed(0)
    _, _, weights = SelfAttention(8, 2)(torch.randn(3, 5, 8), causal(5), need_weights=True)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, 5))
    assert (weights[..., ~causal(5)] == 0).all()
    assert (weights[..., causal(5)] > 0).all()


@pytest.mark.parametrize("d_head", [4, 5])
def test_queries_and_keys_turn_pair_by_pair_and_the_odd_one_out_stays(d_head):
    """By hand: coordinates k and k + 2 of each of two heads are a pair, which turns by the position times its speed."""
    torch.manual_seed(0)
    attention, x = SelfAttention(2 * d_head, 2), torch.randn(1, 3, 2 * d_head)
    position = torch.tensor([[0, 2, 7]])
    _, kept, weights = attention(x, causal(3), need_weights=True, rotation=rotation_of(position, d_head))
    query, key, value = attention.project_in(x)[0].chunk(3, dim=1)
    for head in range(2):
        q, k = (part[:, d_head * head : d_head * (head + 1)].clone() for part in (query, key))
        for part in (q, k):
            for pair, speed in ((0, 1.0), (1, 0.1)):  # 100 ** -(0 / 2), 100 ** -(1 / 2)
                turn = position[0] * speed
                one, other = part[:, pair].clone(), part[:, pair + 2].clone()
                part[:, pair] = one * turn.cos() - other * turn.sin()
                part[:, pair + 2] = other * turn.cos() + one * turn.sin()
        scores = (q @ k.T / math.sqrt(d_head)).masked_fill(~causal(3), -torch.inf)
        torch.testing.assert_close(weights[0, head], scores.softmax(dim=1), atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(kept.value[0, head], value[:, d_head * head : d_head * (head + 1)])


def test_looking_back_on_kept_keys_and_values_is_the_same_as_computing_all_at_once():
    torch.manual_seed(0)
    block, x = Block(8, 2, 16, 0.0, norm_first=True), torch.randn(2, 6, 8)
    whole, _, _ = block(x, causal(6))
    first, past, _ = block(x[:, :4], causal(4))
    rest, present, _ = block(x[:, 4:], causal(6)[4:], [past])
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, atol=1e-6, rtol=1e-5)
    assert isinstance(present, KeyValue)
    assert present.key.shape == (2, 2, 2, 4)


def test_the_papers_order_normalises_what_comes_out_and_the_other_order_what_goes_in():
    torch.manual_seed(0)
    x = 5 + 3 * torch.randn(2, 4, 8)
    post, _, _ = Block(8, 2, 16, 0.0, norm_first=False)(x, causal(4))
    torch.testing.assert_close(post.mean(dim=-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(post.var(dim=-1, correction=0), torch.ones(2, 4), atol=1e-3, rtol=0)
    pre = Block(8, 2, 16, 0.0, norm_first=True)
    with torch.no_grad():
        for part in (pre.attention.project_out, pre.feed_forward[-1]):
            part.weight.zero_()
            part.bias.zero_()
    torch.testing.assert_close(pre(x, causal(4))[0], x)


def tokens() -> FeatureTokens:
    """Two numbers (three edges, two edges) and two columns of levels (3 codes, 2 codes), width 4."""
    torch.manual_seed(0)
    return FeatureTokens([(0.0, 0.5, 1.0), (0.0, 1.0)], [3, 2], 4)


def test_a_number_reaches_through_its_pieces():
    """0.75 has passed the piece from 0 to 0.5 and half of the one from 0.5 to 1."""
    made = tokens()
    out = made(torch.tensor([[0.75, 0.25]]), torch.tensor([[0, 0]]))
    torch.testing.assert_close(out[0, 0], made.slope[0, 0] + 0.5 * made.slope[0, 1] + made.offset[0])
    # The second number has one piece; the unused one must add nothing.
    torch.testing.assert_close(out[0, 1], 0.25 * made.slope[1, 0] + made.offset[1])


def test_a_missing_number_has_a_vector_of_its_own_and_breaks_no_gradient():
    made = tokens()
    out = made(torch.tensor([[torch.nan, 0.0]]), torch.tensor([[0, 0]]))
    torch.testing.assert_close(out[0, 0], made.blank[0] + made.offset[0])
    torch.testing.assert_close(out[0, 1], made.offset[1])
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters())


def test_levels_of_different_columns_share_no_vector():
    made = tokens()
    out = made(torch.zeros(1, 2), torch.tensor([[2, 1]]))
    torch.testing.assert_close(out[0, 2], made.level.weight[2] + made.offset[2])
    torch.testing.assert_close(out[0, 3], made.level.weight[3 + 1] + made.offset[3])


def test_no_features_are_no_tokens():
    assert FeatureTokens([], [], 4)(torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.long)).shape == (3, 0, 4)


@pytest.mark.parametrize("norm_first", [True, False])
def test_reading_some_positions_gives_what_they_have_among_all(norm_first):
    torch.manual_seed(0)
    block, x, read = Block(8, 2, 16, 0.0, norm_first), torch.randn(3, 6, 8), torch.tensor([[5, 0], [2, 2], [1, 4]])
    whole, kept, weights = block(x, causal(6), need_weights=True)
    some, present, own = block(x, causal(6)[read][:, None], need_weights=True, read=read)
    torch.testing.assert_close(some, torch.stack([whole[b, at] for b, at in enumerate(read)]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(own, torch.stack([weights[b][:, at] for b, at in enumerate(read)]))
    assert torch.equal(present.key, kept.key)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_the_first_position_alone_is_what_it_is_among_all(norm_first, n_heads):
    """Also where others are padding; and every weight learns as much, but for the keys' bias, which moves nothing."""
    torch.manual_seed(0)
    block, x = Block(8, n_heads, 16, 0.0, norm_first), torch.randn(3, 6, 8)
    torch.nn.init.normal_(block.attention.project_in.bias)
    seen = torch.arange(6) < torch.tensor([6, 4, 1])[:, None]
    whole = block(x, seen[:, None, None, :])[0][:, 0]
    alone = block.of_first(x, seen)
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-5)
    asked = [*block.parameters()]
    for one, other in zip(
        torch.autograd.grad(alone.square().sum(), asked, materialize_grads=True),
        torch.autograd.grad(whole.square().sum(), asked, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_few_positions_at_a_time_are_the_same_as_all_at_once(monkeypatch):
    torch.manual_seed(0)
    block, x = Block(8, 2, 16, 0.0, norm_first=True), torch.randn(3, 7, 8)
    with_gradients, _, _ = block(x, causal(7))
    monkeypatch.setattr("crm_models.models.blocks.ROWS_AT_ONCE", 4)
    with torch.inference_mode():
        torch.testing.assert_close(block(x, causal(7))[0], with_gradients.detach(), atol=1e-6, rtol=1e-5)
