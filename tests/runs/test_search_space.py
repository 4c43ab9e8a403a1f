"""The space of a search: every point of it is a configuration, the starting point among them, and can be repeated."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models import workflow
from crm_models.core.config import RunConfig
from crm_models.core.presets import preset
from crm_models.runs.search_space import Space, differences

MODELS = ("sequence", "churn")
PRESETS = ("standard", "strong")


@st.composite
def spaces(draw):
    """A preset with any width and heads, for a cohort with any longest history, with anything pinned."""
    model, config = draw(st.sampled_from(MODELS)), preset(draw(st.sampled_from(PRESETS)))
    heads = draw(st.integers(1, 8))
    shape = replace(getattr(config, model), n_heads=heads, d_model=heads * draw(st.integers(2, 40)))
    config = replace(config, **{model: shape})
    names = [r.name for r in Space.of(config, model).ranges]
    pinned = draw(st.sets(st.sampled_from([*names, f"{model}.d_feedforward"])))
    return model, config, Space.of(config, model, longest=draw(st.integers(0, 300)), pinned=pinned), pinned


def a_value_of(r):
    if not r.is_whole:
        return st.floats(r.low, r.high)
    return st.integers(0, (r.high - r.low) // r.step).map(lambda k: r.low + k * r.step)


@given(given=spaces(), data=st.data())
def test_every_point_of_every_space_is_a_configuration(given, data):
    model, base, space, pinned = given
    values = {r.name: data.draw(a_value_of(r), label=r.name) for r in space.ranges}
    config = space.config(values)  # raises where it is none
    assert RunConfig.from_dict(config.to_dict()) == config
    assert getattr(config, model).d_model % getattr(config, model).n_heads == 0
    changed = {name.split(".")[0] for name in differences(config, base)}
    assert changed <= {model, f"{model}_training"}
    assert not pinned & set(differences(config, base))


@given(given=spaces())
def test_the_starting_point_is_in_the_space_and_gives_itself(given):
    _, base, space, _ = given
    assert all(r.low <= r.now <= r.high and (not r.is_whole or (r.now - r.low) % r.step == 0) for r in space.ranges)
    assert space.config({r.name: r.now for r in space.ranges}) == base


@given(name=st.sampled_from(PRESETS), model=st.sampled_from(MODELS), data=st.data())
def test_what_differs_as_options_of_train_gives_the_same_configuration(name, model, data):
    space = Space.of(preset(name), model)
    config = space.config({r.name: data.draw(a_value_of(r), label=r.name) for r in space.ranges})
    settings = [f"{k}={v}" for k, v in differences(config, preset(name)).items()]
    assert workflow.run_config(preset=name, settings=settings) == config


def test_the_feed_forward_part_keeps_its_proportion_unless_somebody_set_it():
    free = Space.of(preset("standard"), "sequence")
    start = {r.name: r.now for r in free.ranges}
    assert free.config(start | {"sequence.d_model": 32}).sequence.d_feedforward == 128
    held = Space.of(preset("standard"), "sequence", pinned=["sequence.d_feedforward"])
    assert held.config(start | {"sequence.d_model": 32}).sequence.d_feedforward == 256


@pytest.mark.parametrize(
    ("model", "longest", "there"), [("churn", 0, False), ("churn", 3, True), ("sequence", 10, False)]
)
def test_how_many_events_are_seen_is_searched_only_where_it_matters(model, longest, there):
    names = {r.name for r in Space.of(preset("standard"), model, longest=longest).ranges}
    assert (f"{model}.max_events" in names) == there


def test_numbers_are_rounded_to_what_a_person_would_repeat():
    space = Space.of(preset("standard"), "churn")
    start = {r.name: r.now for r in space.ranges}
    assert space.config(start | {"churn_training.learning_rate": 0.00123456}).churn_training.learning_rate == 0.00123
