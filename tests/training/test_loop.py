"""The training loop: it learns what there is to learn and nothing else, stops and goes on to the same numbers."""

import json
import math
from dataclasses import replace
from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from crm_models.bench.rates import gigaflops_of
from crm_models.core.config import RunConfig, TrainingConfig
from crm_models.core.errors import ConfigError, RunError
from crm_models.core.presets import preset
from crm_models.data.cohort import Cohort
from crm_models.inference.decoding import churn_probabilities
from crm_models.models.runtime import resolve_device
from crm_models.training import loop, objectives
from crm_models.training.loop import train
from crm_models.training.objectives import SequenceObjective, next_action_loss, outcome_log_p
from crm_models.training.state import TrainingState
from tests.small_cohorts import SMALL, random_cohort, training_data, with_sequence

MODELS = ["sequence", "churn"]
AVERAGED = replace(
    SMALL,
    sequence_training=replace(SMALL.sequence_training, average_weights=0.9),
    churn_training=replace(SMALL.churn_training, average_weights=0.9),
)
REFIT = replace(AVERAGED, churn_training=replace(AVERAGED.churn_training, n_epochs=6, final_refit=True))


@pytest.fixture(scope="module")
def small():
    """120 customers, 78 of whom train: four to five batches of 16."""
    return training_data(random_cohort(120, shortest=4, as_of=60.0))


def trained(model: str, small, config: RunConfig = SMALL, **options) -> tuple[TrainingState, list]:
    encoder, known = small
    state = TrainingState.start(model, config, encoder)
    return state, list(train(state, known, **options))


def losses(events: list) -> list[tuple[float, float | None]]:
    return [(e.train_loss, e.valid_loss) for e in events]


def after(n_calls: int):
    """A stop request that comes before batch number `n_calls` + 1."""
    asked = iter(range(n_calls))
    return lambda: next(asked, None) is None


def assert_equal_tensors(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


# ---- it learns -------------------------------------------------------------------------------------------------------


def test_a_cycle_is_learned():
    """1-2-3-1-2-3: after the first event everything is certain."""
    n, length = 120, 9
    start = np.random.default_rng(0).integers(0, 3, n)
    events = pd.DataFrame(
        {
            "customer_id": np.repeat(np.arange(n), length),
            "action": [f"a{k}" for k in ((start[:, None] + np.arange(length)) % 3).ravel()],
            "timestamp": np.tile(np.arange(length, dtype=float), n),
        }
    )
    cohort = Cohort.build(
        name="t", source="test", customers=pd.DataFrame({"customer_id": np.arange(n)}), interactions=events
    )
    fitting = TrainingConfig(n_epochs=12, batch_size=16, learning_rate=1e-2)
    config = replace(with_sequence(SMALL, max_events=8), sequence_training=fitting)
    _, ended = trained("sequence", training_data(cohort, config), config)
    assert ended[-1].valid_loss < 0.05


def churn_cohort(n: int, *, random_labels: bool) -> Cohort:
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"customer_id": np.arange(n), **{f"x{k}": rng.random(n) for k in range(4)}})
    people["churned"] = rng.random(n) < 0.4 if random_labels else people["x0"] + people["x1"] > 1.2
    return Cohort.build(name="t", source="test", customers=people, interactions=None)


@pytest.mark.parametrize("random_labels", [False, True])
def test_churn_is_learned_where_the_profile_tells_it_and_labels_drawn_at_random_give_chance(random_labels):
    config = replace(SMALL, churn_training=TrainingConfig(n_epochs=12, batch_size=32, learning_rate=1e-2))
    encoder, known = training_data(churn_cohort(1000, random_labels=random_labels), config)
    state, _ = trained("churn", (encoder, known), config)
    test = known.split.test
    auc = roc_auc_score(known.labels[test], churn_probabilities(state.module, known.arrays, test))
    if random_labels:
        assert abs(auc - 0.5) < 0.13  # 200 test customers: three standard errors
    else:
        assert auc > 0.97


def test_the_first_loss_of_the_paper_preset_is_that_of_the_untrained_model_on_the_three_steps():
    """Full batch: the loss of an epoch is the one before its update, over the outcome only, without the penalty."""
    config = replace(preset("paper"), device="cpu")
    encoder, known = training_data(random_cohort(60, 20, shortest=8, longest=8, as_of=60.0), config)
    state = TrainingState.start("sequence", config, encoder)
    own = np.flatnonzero(np.isin(known.outcomes.rows, known.split.train))
    with torch.no_grad():
        log_p, steps = outcome_log_p(state.module, known.arrays, known.outcomes, own)
    expected = [-log_p[b, k, steps[b, k] - 1].item() for b in range(len(own)) for k in range(3) if steps[b, k] > 0]
    first = next(train(state, known))
    assert first.train_loss == pytest.approx(np.mean(expected), abs=1e-5)
    assert first.valid_loss is None


def test_the_papers_penalty_is_lambda_times_the_squared_weights(small):
    """A weight that the loss does not reach moves by Adam's first step, against its sign: lambda ||theta||^2."""
    config = replace(preset("paper"), device="cpu")
    state = TrainingState.start("sequence", config, small[0])
    (optimizer,) = state.optimizers.values()
    assert [g["weight_decay"] for g in optimizer.param_groups] == [2 * config.sequence_training.weight_decay]
    weight = state.module.output.weight
    before = weight.detach().clone()
    (0.0 * weight.sum()).backward()
    optimizer.step()
    assert torch.equal((weight.detach() - before).sign(), -before.sign())


def test_positions_of_planned_steps_are_learned_too(small):
    """Behind a history that fills the window stand two more events while the third step is predicted."""
    encoder, known = small
    config = with_sequence(SMALL, max_events=3, rotary_positions=False)
    model = TrainingState.start("sequence", config, encoder).module
    objective = SequenceObjective(model, config.sequence_training, known)
    loss, _ = objective.loss(objective.examples(), np.random.default_rng(0))
    loss.backward()
    learned = model.position.weight.grad.norm(dim=1)
    assert (learned[:5] > 1e-6).all()
    assert learned[5] == 0  # the last row is never used


@pytest.mark.parametrize("at_once", [1, 40, 1000])
def test_a_loss_in_pieces_is_the_same_loss_with_the_same_gradient(small, monkeypatch, at_once):
    model = TrainingState.start("sequence", SMALL, small[0]).module
    torch.manual_seed(0)
    hidden, targets = torch.randn(17, 16, requires_grad=True), torch.randint(0, 6, (17,))
    recent = torch.randint(0, 7, (17, SMALL.sequence.max_events))
    whole = F.cross_entropy(model.logits(hidden, recent, targets), targets)
    expected = torch.autograd.grad(whole, (hidden, *model.parameters()), allow_unused=True)
    monkeypatch.setattr(objectives, "SCORES_AT_ONCE", at_once)
    pieces = next_action_loss(model, hidden, recent, targets)
    pieces.backward()
    torch.testing.assert_close(pieces, whole)
    for own, theirs in zip((hidden, *model.parameters()), expected, strict=True):
        assert (own.grad is None) == (theirs is None)
        if theirs is not None:
            torch.testing.assert_close(own.grad, theirs)


def test_the_operations_of_a_loss_in_pieces_are_those_of_the_whole(small, monkeypatch):
    model = TrainingState.start("sequence", SMALL, small[0]).module
    hidden, targets = torch.randn(17, 16, requires_grad=True), torch.randint(0, 6, (17,))
    recent = torch.randint(0, 7, (17, SMALL.sequence.max_events))

    def work() -> None:
        next_action_loss(model, hidden, recent, targets).backward()

    whole = gigaflops_of(work)
    monkeypatch.setattr(objectives, "SCORES_AT_ONCE", 40)
    assert gigaflops_of(work) == pytest.approx(whole, rel=0.2)  # what is made of action features anew in each piece


# ---- what it may see -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_training_never_looks_at_test_customers(model, small):
    encoder, known = small
    test = known.split.test
    labels, numeric = known.labels.copy(), known.arrays.numeric.copy()
    labels[test], numeric[test] = 1 - labels[test], 1 - numeric[test]
    starts, action = known.arrays.events.starts, known.arrays.events.action.copy()
    for row in test:
        own = slice(starts[row], starts[row + 1])
        action[own] = action[own] % encoder.n_actions + 1
    arrays = replace(known.arrays, numeric=numeric, events=replace(known.arrays.events, action=action))
    other = replace(known, arrays=arrays, labels=labels)
    assert losses(trained(model, (encoder, other))[1]) == losses(trained(model, small)[1])


def test_customers_without_a_label_do_not_count(small):
    encoder, known = small
    labels, numeric = known.labels.copy(), known.arrays.numeric.copy()
    blank = np.concatenate([known.split.train[::3], known.split.valid[::3]])
    labels[blank] = np.nan
    before = losses(trained("churn", (encoder, replace(known, labels=labels)))[1])
    numeric[blank] = 0.5
    other = replace(known, labels=labels, arrays=replace(known.arrays, numeric=numeric))
    assert losses(trained("churn", (encoder, other))[1]) == before
    assert all(math.isfinite(loss) for pair in before for loss in pair)


# ---- the same numbers again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_epochs_and_another_seed_others(model, small):
    (one, ended), (two, again) = trained(model, small), trained(model, small)
    assert losses(again) == losses(ended)
    assert_equal_tensors(one.snapshot, two.snapshot)
    assert losses(trained(model, small, replace(SMALL, seed=1))[1]) != losses(ended)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("stops", "config"),
    [
        *((stops, SMALL) for stops in ((0,), (1,), (2,), (5,), (7,), (1, 1), (6, 2, 1))),
        ((1, 7), AVERAGED),
        ((28, 7), REFIT),
        ((31, 3, 9), REFIT),
    ],
)
def test_a_run_cut_anywhere_goes_on_to_the_same_numbers(model, small, stops, config, tmp_path):
    """Also within the first epoch, just after a start from fresh weights, and several times; the state passes through
    files as the run folder keeps it."""
    encoder, known = small
    whole, expected = trained(model, small, config)
    state, ended = TrainingState.start(model, config, encoder), []
    for n_batches in stops:
        ended += train(state, known, after(n_batches))
        save_file(state.snapshot, tmp_path / "state.safetensors")
        meta = json.loads(json.dumps(state.meta))
        state = TrainingState.start(model, config, encoder)
        state = state.restored(load_file(tmp_path / "state.safetensors"), meta)
    ended += train(state, known)
    assert losses(ended) == losses(expected)
    assert [e.best for e in ended] == [e.best for e in expected]
    assert_equal_tensors(state.best, whole.best)
    assert_equal_tensors(state.snapshot, whole.snapshot)
    assert state.refit_epochs == whole.refit_epochs


@pytest.mark.parametrize("model", MODELS)
def test_a_state_that_was_stopped_can_be_trained_on_without_a_file(model, small):
    encoder, known = small
    whole, expected = trained(model, small)
    state = TrainingState.start(model, SMALL, encoder)
    ended = list(train(state, known, after(7)))
    ended += train(state, known)
    assert losses(ended) == losses(expected)
    assert_equal_tensors(state.best, whole.best)


@pytest.mark.parametrize("model", MODELS)
def test_every_weight_has_one_optimiser_and_the_maps_inside_blocks_go_by_muon(model, small):
    state = TrainingState.start(model, SMALL, small[0])
    held = {
        name: {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, optimizer in state.optimizers.items()
    }
    named = {id(p): name for name, p in state.module.named_parameters()}
    assert sorted(chain(*held.values())) == sorted(named)
    turned = {named[p].split(".", 2)[2] for p in held["muon"]}
    assert turned == {
        "attention.project_in.weight",
        "attention.project_out.weight",
        "feed_forward.0.weight",
        "feed_forward.2.weight",
    }


@pytest.mark.parametrize("model", MODELS)
def test_without_a_stretch_all_weights_go_by_adamw(model, small):
    config = replace(SMALL, **{f"{model}_training": replace(SMALL.training(model), muon_lr_scale=0.0)})
    assert list(TrainingState.start(model, config, small[0]).optimizers) == ["optimizer"]


@pytest.mark.parametrize("model", MODELS)
def test_the_mean_of_the_weights_is_what_is_kept_and_leaves_the_training_alone(model, small, monkeypatch):
    """By hand: the first update's weights, then each mean moves by 1 - min(0.9, (n + 1) / (n + 10)) of the way."""
    plain, averaged = (one_epoch(model, small, config, monkeypatch) for config in (SMALL, AVERAGED))
    assert [e.train_loss for e in plain.ended] == [e.train_loss for e in averaged.ended]
    name = "action.weight" if model == "sequence" else "output.weight"
    mean = plain.seen[0][name]
    for n, weights in enumerate(plain.seen[1:], start=1):
        mean = mean + (1 - min(0.9, (n + 1) / (n + 10))) * (weights[name] - mean)
    torch.testing.assert_close(averaged.state.best[name], mean)
    torch.testing.assert_close(plain.state.best[name], plain.seen[-1][name])


def one_epoch(model: str, small, config: RunConfig, monkeypatch) -> SimpleNamespace:
    """One epoch of training: the state, the epochs, and the weights after each update."""
    seen: list[dict] = []
    state = TrainingState.start(model, config.with_epochs(1), small[0])
    last = list(state.optimizers.values())[-1]
    step = last.step

    def watched() -> None:
        step()
        seen.append({k: v.detach().clone() for k, v in state.module.state_dict().items()})

    monkeypatch.setattr(last, "step", watched)
    ended = list(train(state, small[1]))
    return SimpleNamespace(state=state, ended=ended, seen=seen)


def test_training_again_after_the_end_does_nothing(small):
    state, _ = trained("churn", small, REFIT)
    best = {k: v.clone() for k, v in state.best.items()}
    assert list(train(state, small[1])) == []
    assert_equal_tensors(state.best, best)


# ---- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_stop_is_honoured_before_the_next_batch(model, small, monkeypatch):
    encoder, known = small
    objective = objectives.SequenceObjective if model == "sequence" else objectives.ChurnObjective
    computed = []
    original = objective.loss
    monkeypatch.setattr(objective, "loss", lambda self, *given: computed.append(1) or original(self, *given))
    state = TrainingState.start(model, SMALL, encoder)
    start = {k: v.clone() for k, v in state.module.state_dict().items()}
    assert list(train(state, known, after(2))) == []
    assert len(computed) == 2
    # No epoch has ended, so the best weights are the first ones.
    assert_equal_tensors(state.module.state_dict(), start)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("ending", ["finished", "stopped", "closed"])
def test_however_it_ends_the_module_holds_the_best_weights(model, small, ending, monkeypatch):
    """Validation losses 3, 1, 2: the second epoch is the best."""
    encoder, known = small
    objective = objectives.SequenceObjective if model == "sequence" else objectives.ChurnObjective
    told = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(objective, "valid_loss", lambda *_: next(told))
    state = TrainingState.start(model, replace(SMALL, churn_training=SMALL.sequence_training), encoder)
    seen = []
    events = train(state, known, lambda: ending == "stopped" and len(seen) == 2)
    for event in events:
        seen.append({k: v.clone() for k, v in state.module.state_dict().items()})
        assert event.best == (event.valid_loss in (3.0, 1.0))
        if ending == "closed" and event.epoch == 3:
            events.close()
    assert len(seen) == (2 if ending == "stopped" else 3)
    assert (state.best_epoch, state.best_loss) == (2, 1.0)
    assert_equal_tensors(state.module.state_dict(), seen[1])
    assert not state.module.training


def test_patience_ends_training(small, monkeypatch):
    """Best at epoch 2, then nothing better for two epochs."""
    told = iter([3.0, 1.0, 2.0, 1.5, 0.5])
    monkeypatch.setattr(objectives.ChurnObjective, "valid_loss", lambda *_: next(told))
    config = replace(SMALL, churn_training=TrainingConfig(n_epochs=9, batch_size=16, patience_epochs=2))
    state, ended = trained("churn", small, config)
    assert [e.epoch for e in ended] == [1, 2, 3, 4]
    assert state.best_epoch == 2


@pytest.mark.parametrize(("monitor", "expected"), [("train", 3), ("valid", 1), ("last", 3)])
def test_the_monitored_loss_chooses_the_best_epoch(small, monkeypatch, monitor, expected):
    """Validation gets worse while training gets better."""
    told = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr(objectives.ChurnObjective, "valid_loss", lambda *_: next(told))
    fitting = TrainingConfig(n_epochs=3, batch_size=None, learning_rate=1e-3, monitor=monitor, schedule="constant")
    config = replace(SMALL, churn=replace(SMALL.churn, dropout=0.0, n_members=1), churn_training=fitting)
    state, ended = trained("churn", small, config)
    assert ended[0].train_loss > ended[1].train_loss > ended[2].train_loss
    assert state.best_epoch == expected


def test_a_loss_that_is_no_number_ends_with_advice(small):
    encoder, known = small
    broken = replace(known, arrays=replace(known.arrays, now_days=math.inf))
    with pytest.raises(
        RunError, match=r"churn model's loss became nan in epoch 1; lower the learning rate \(now 0.001\)"
    ):
        list(train(TrainingState.start("churn", SMALL, encoder), broken))


# ---- the parts -------------------------------------------------------------------------------------------------------


def test_every_random_stream_depends_on_the_seed_and_the_epoch(small, monkeypatch):
    """Each stream alone: together they would hide one that does not."""
    encoder, known = small

    def streams(seed: int) -> list[dict[str, object]]:
        """Order of the examples, draws of windows, and seed of dropout in each of two epochs."""
        state = TrainingState.start("sequence", replace(SMALL, seed=seed), encoder)
        batches: list[tuple[list[int], float, int]] = []

        def noted(objective, rows, rng):
            batches.append((rows.tolist(), rng.random(), torch.initial_seed()))
            return state.module.bias.sum(), len(rows)

        found = []
        with monkeypatch.context() as patched:
            patched.setattr("crm_models.training.objectives.SequenceObjective.loss", noted)
            for _ in islice(train(state, known), 2):
                orders, draws, seeds = zip(*batches, strict=True)
                found.append({"order": orders, "windows": draws, "dropout": seeds[0]})
                batches.clear()
        return found

    one, again, other = streams(0), streams(0), streams(1)
    assert one == again
    for name in ("order", "windows", "dropout"):
        assert one[0][name] != one[1][name], f"{name} repeats in the second epoch"
        assert one[0][name] != other[0][name], f"{name} ignores the seed"
    assert sorted(chain(*one[0]["order"])) == sorted(chain(*other[0]["order"]))


def batches_of(length: np.ndarray, n_targets: np.ndarray, size: int | None, seed: int = 1) -> list[np.ndarray]:
    config = TrainingConfig(batch_size=size)
    return loop._batches(np.arange(1000, 1000 + len(length)), length, n_targets, config, np.random.default_rng(seed))


def test_batches_hold_every_example_once_alike_in_length_and_in_another_order_each_epoch():
    length = np.random.default_rng(0).integers(1, 50, 1000)
    batches = batches_of(length, np.ones(1000, int), 32)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000, 2000))
    assert {len(b) for b in batches} <= {30, 31, 32}
    padded = sum(length[b - 1000].max() * len(b) for b in batches)
    assert padded < 1.15 * length.sum()  # without sorting it would be 1.9 times
    same, other = (batches_of(length, np.ones(1000, int), 32, seed) for seed in (1, 2))
    assert all((a == b).all() for a, b in zip(batches, same, strict=True))
    assert np.concatenate(batches).tolist() != np.concatenate(other).tolist()


def test_every_batch_has_about_as_many_targets_whatever_the_length_of_its_histories():
    length = np.random.default_rng(0).geometric(0.08, 4096).clip(max=53)
    targets = np.array([length[b - 1000].sum() for b in batches_of(length, length, 32)])
    assert len(targets) == 128
    assert abs(targets / targets.mean() - 1).max() < 0.2  # one history has up to 53 of 400 targets
    by_customers = np.array([length[b - 1000].sum() for b in batches_of(length, np.ones(4096, int), 32)])
    assert by_customers.max() > 10 * by_customers.min()


def test_a_history_longer_than_a_whole_batch_leaves_no_empty_batch():
    length = np.array([1] * 40 + [5000])
    batches = batches_of(length, length, 8)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000, 1041))
    assert min(map(len, batches)) > 0


def test_no_batch_size_is_one_batch():
    (batch,) = batches_of(np.ones(500), np.ones(500, int), None)
    assert len(batch) == 500


def told_losses(monkeypatch, told: list[float]) -> None:
    rest = iter(told)
    monkeypatch.setattr(objectives.ChurnObjective, "valid_loss", lambda *_: next(rest))


def test_a_refit_learns_as_long_from_validation_customers_as_well(small, monkeypatch):
    """Best at epoch 3 of 5; what is kept are the weights after three epochs of both kinds of customers together."""
    encoder, known = small
    told_losses(monkeypatch, [3.0, 2.0, 1.0, 1.5, 1.5])
    fitting = TrainingConfig(n_epochs=9, batch_size=16, patience_epochs=2, final_refit=True)
    state, ended = trained("churn", small, replace(SMALL, churn_training=fitting))
    assert [e.final_refit for e in ended] == [False] * 5 + [True] * 3
    assert [e.best for e in ended] == [True] * 3 + [False] * 5
    assert [e.valid_loss for e in ended[5:]] == [None] * 3
    assert (state.best_epoch, state.best_loss, state.refit_epochs) == (3, 1.0, 3)
    # The same by hand: nobody held back, three of nine epochs, in the order that epochs 6 to 8 have.
    everybody = np.sort(np.concatenate([known.split.train, known.split.valid]))
    alone = replace(known, split=replace(known.split, train=everybody, valid=everybody[:0]))
    by_hand = TrainingState.start("churn", replace(SMALL, churn_training=replace(fitting, monitor="last")), encoder)
    told_losses(monkeypatch, [1.0] * 3)
    order = loop.rng_of
    monkeypatch.setattr(loop, "rng_of", lambda seed, stream, epoch: order(seed, stream, epoch + 5))
    dropped = torch.manual_seed
    monkeypatch.setattr(loop.torch, "manual_seed", lambda seed: dropped(seed + 5))
    for epoch in train(by_hand, alone):
        if epoch.epoch == 3:
            break
    assert_equal_tensors(state.module.state_dict(), by_hand.module.state_dict())


def test_auto_is_a_gpu_where_there_is_one_and_cuda_without_one_is_refused():
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device cuda was asked for, but torch finds no GPU"):
            resolve_device("cuda")
