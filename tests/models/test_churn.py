"""The Churn Transformer: a set of named tokens, blanks and all; neighbours, padding and order do not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crm_models.core.presets import preset
from crm_models.models.batches import churn_batch
from crm_models.models.churn import ChurnBatch, ChurnTransformer
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_churn

PAPER = replace(preset("paper"), device="cpu")
SHAPES = {"standard": SMALL, "no events": with_churn(SMALL, max_events=0), "paper": PAPER}


@pytest.fixture(scope="module")
def encoded():
    return training_data(random_cohort(40))


@pytest.fixture(params=SHAPES, scope="module")
def model(request, encoded) -> ChurnTransformer:
    return untrained("churn", encoded[0], SHAPES[request.param])


def batch_of(encoded, model: ChurnTransformer, rows: range = range(12)) -> ChurnBatch:
    return churn_batch(encoded[1].arrays, np.array(rows), model)


def log_odds(model: ChurnTransformer, batch: ChurnBatch) -> torch.Tensor:
    with torch.inference_mode():
        return model(batch)[0]


def reordered(batch: ChurnBatch, order: list[int]) -> ChurnBatch:
    """The events of every customer in another order; batches here must hold full windows."""
    return replace(batch, **{name: getattr(batch, name)[:, order] for name in ("action", "age", "gap", "value")})


def test_padding_changes_nothing(model, encoded):
    batch = batch_of(encoded, model)
    wide = replace(batch, **{k: F.pad(getattr(batch, k), (0, 3)) for k in ("action", "age", "gap", "value")})
    torch.testing.assert_close(log_odds(model, wide), log_odds(model, batch), atol=1e-5, rtol=0)


def test_what_stands_in_padded_places_is_not_read(encoded):
    model = untrained("churn", encoded[0])
    batch = batch_of(encoded, model)
    empty = batch.action == 0
    assert empty.any()
    other = replace(batch, **{k: getattr(batch, k).masked_fill(empty, 7.0) for k in ("age", "gap", "value")})
    torch.testing.assert_close(log_odds(model, other), log_odds(model, batch), atol=1e-6, rtol=0)


def test_neighbours_change_nothing_and_permuting_customers_permutes_outputs(model, encoded):
    together = log_odds(model, batch_of(encoded, model))
    for k in (0, 7):
        alone = log_odds(model, batch_of(encoded, model, range(k, k + 1)))
        torch.testing.assert_close(alone[0], together[k], atol=1e-5, rtol=0)
    back = log_odds(model, batch_of(encoded, model, range(11, -1, -1)))
    torch.testing.assert_close(back.flip(0), together, atol=1e-5, rtol=0)


def test_events_are_a_set_told_apart_by_their_age(encoded):
    model = untrained("churn", encoded[0])
    rows = np.flatnonzero(encoded[1].arrays.n_history >= 4)[:6]
    batch = churn_batch(encoded[1].arrays, rows, model)
    torch.testing.assert_close(
        log_odds(model, reordered(batch, [2, 0, 3, 1])), log_odds(model, batch), atol=1e-5, rtol=0
    )
    swapped = replace(batch, action=batch.action[:, [2, 0, 3, 1]])
    assert (log_odds(model, swapped) - log_odds(model, batch)).abs().max() > 1e-3


def test_the_order_of_features_means_nothing(encoded):
    """Two models whose numeric features, and the weights that belong to them, stand in opposite orders."""
    encoder, known = encoded
    config = with_churn(SMALL, use_behaviour=False)
    model = untrained("churn", encoder, config)
    turned = untrained("churn", replace(encoder, numeric=encoder.numeric[::-1]), config)
    own = turned.state_dict()
    n_numeric = len(encoder.numeric)
    order = [*range(n_numeric)[::-1], *range(n_numeric, n_numeric + len(encoder.categorical))]
    for name, weight in model.state_dict().items():
        per_number = ("features.start", "features.end", "features.slope", "features.blank")
        own[name] = weight[order] if name == "features.offset" else weight.flip(0) if name in per_number else weight
    turned.load_state_dict(own)
    batch = churn_batch(known.arrays, np.arange(12), model)
    mirrored = replace(batch, numeric=batch.numeric.flip(1))
    torch.testing.assert_close(log_odds(turned, mirrored), log_odds(model, batch), atol=1e-5, rtol=0)


def test_a_missing_number_is_neither_zero_nor_one(model, encoded):
    batch = batch_of(encoded, model)
    answers = []
    for value in (torch.nan, 0.0, 1.0):
        numeric = batch.numeric.clone()
        numeric[:, 0] = value
        answers.append(log_odds(model, replace(batch, numeric=numeric)))
    assert torch.isfinite(answers[0]).all()
    assert (answers[0] - answers[1]).abs().min() > 1e-6
    assert (answers[0] - answers[2]).abs().min() > 1e-6


def test_a_missing_level_has_an_embedding_of_its_own(model, encoded):
    batch = batch_of(encoded, model)
    answers = [log_odds(model, replace(batch, categorical=torch.full_like(batch.categorical, k))) for k in (0, 1, 2)]
    assert (answers[0] - answers[1]).abs().min() > 1e-6
    assert (answers[0] - answers[2]).abs().min() > 1e-6


def test_attention_has_one_named_row_and_column_per_token(model, encoded):
    batch = batch_of(encoded, model)
    with torch.inference_mode():
        fast, none = model(batch)
        shown, weights = model(batch, need_weights=True)
    torch.testing.assert_close(shown, fast, atol=1e-5, rtol=0)
    assert (len(none), len(weights)) == (0, model.config.n_blocks)
    n_events = int((batch.action[0] > 0).sum()) if model.config.max_events else 0
    n_named = 1 + len(model.feature_names) + n_events
    n_tokens = 1 + len(model.feature_names) + (batch.action.shape[1] if model.config.max_events else 0)
    for layer in weights:
        assert layer.shape == (12, model.config.n_heads, n_tokens, n_tokens)
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(layer.shape[:-1]))
        # Behind the named tokens stands padding, which nobody looks at.
        assert (layer[0, :, :, n_named:] == 0).all()
        assert (layer[0, :, :, :n_named] > 0).all()


def test_the_papers_model_has_one_token_per_feature_and_no_events(encoded):
    model = untrained("churn", encoded[0], PAPER)
    assert (model.feature_names, model.use_events) == (("age", "income", "tier"), False)
    width, feed_forward, levels = 16, 16, 2 + 3
    tokens = 2 * width + 3 * width + 2 * width + levels * width + width  # slopes, offsets, blanks, levels, [CLS]
    block = 4 * (width * width + width) + 2 * (width * feed_forward + width) + 2 * 2 * width
    assert sum(p.numel() for p in model.parameters()) == tokens + block + width + 1


def test_the_answer_is_the_mean_of_members_that_differ(encoded):
    model = untrained("churn", encoded[0])
    batch = batch_of(encoded, model)
    with torch.inference_mode():
        each, _ = model.members(batch)
    assert each.shape == (12, 5), "four members and the additive model"
    assert each.std(dim=1).min() > 1e-3
    torch.testing.assert_close(log_odds(model, batch), each.mean(dim=1))


def test_one_member_asked_alone_says_what_it_says_among_all(encoded):
    model = untrained("churn", encoded[0])
    batch, asked = batch_of(encoded, model), torch.arange(12) % 4
    with torch.inference_mode():
        each, _ = model.members(batch)
        alone = model.of_member(batch, asked)
    torch.testing.assert_close(alone, each[torch.arange(12), asked])


def test_a_member_is_a_model_of_its_own_with_the_shared_weights(encoded):
    """Member k alone, as a model of one member whose feature tokens, events and [CLS] are scaled by k's own vector."""
    model = untrained("churn", encoded[0])
    batch = batch_of(encoded, model)
    with torch.inference_mode():
        each, _ = model.members(batch)
    for k in range(4):
        lone = untrained("churn", encoded[0], with_churn(SMALL, n_members=1, use_additive=False))
        state = {name: value for name, value in model.state_dict().items() if name in lone.state_dict()}
        scale = model.scale[k, 0].detach()
        for name in ("features.slope", "features.offset", "features.blank", "features.level.weight", "reader"):
            state[name] = state[name] * scale
        for name in ("action.weight", "from_context.bias"):
            state[name] = state[name] * scale
        state["from_context.weight"] = state["from_context.weight"] * scale[:, None]
        state["output.weight"], state["output.bias"] = state["output.weight"][[k]], state["output.bias"][[k]]
        lone.load_state_dict(state)
        torch.testing.assert_close(log_odds(lone, batch), each[:, k], atol=1e-5, rtol=1e-4)
