"""Attention maps that add up, and effects that are what re-scoring an edited customer gives."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from crm_models.core.config import RunConfig
from crm_models.core.presets import preset
from crm_models.data.cohort import Cohort, select
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.inference.decoding import churn_probabilities
from crm_models.inference.effects import Effects
from crm_models.inference.explanation import average_churn, average_sequence, explain_churn, explain_sequence
from crm_models.training.state import TrainingState

SMALL = {"d_model": 8, "n_heads": 2, "n_blocks": 2, "d_feedforward": 8, "max_events": 6}


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return generate(ScenarioSettings(scenario="lifelike", customers=80, seed=1))[0]


@pytest.fixture(scope="module")
def encoder(cohort) -> FeatureEncoder:
    return FeatureEncoder.fit(cohort, np.arange(cohort.n_customers), cohort.as_of, 4)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    plain = preset("standard")
    return replace(plain, sequence=replace(plain.sequence, **SMALL), churn=replace(plain.churn, **SMALL))


@pytest.fixture(scope="module")
def sequence(config, encoder):
    return TrainingState.start("sequence", config, encoder).module.eval()


@pytest.fixture(scope="module")
def churn(config, encoder):
    return TrainingState.start("churn", config, encoder).module.eval()


def long_row(cohort: Cohort) -> int:
    """A customer with more events than the models see."""
    before = np.bincount(
        cohort.event_customers[(cohort.interactions["timestamp"] < cohort.as_of).to_numpy()],
        minlength=cohort.n_customers,
    )
    return int(np.flatnonzero(before > 8)[0])


def test_attention_rows_add_up_and_the_future_gets_none(sequence, encoder, cohort):
    found = explain_sequence(sequence, encoder, cohort, long_row(cohort), cohort.as_of).attention
    assert found.weights.shape == (2, 2, 7, 7)
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1, atol=1e-5)
    assert (found.weights[..., np.triu_indices(7, 1)[0], np.triu_indices(7, 1)[1]] == 0).all()
    assert found.tokens[0] == "customer profile"
    assert found.reader == 6


def test_the_churn_map_names_every_feature_and_event(churn, encoder, cohort):
    found = explain_churn(churn, encoder, cohort, long_row(cohort), cohort.as_of).attention
    assert found.tokens[: 1 + len(churn.feature_names)] == ("[CLS]", *churn.feature_names)
    assert len(found.tokens) == found.weights.shape[-1] == 1 + len(churn.feature_names) + 6
    np.testing.assert_allclose(found.weights.sum(axis=-1), 1, atol=1e-5)


def test_deleting_an_event_is_re_scoring_a_customer_who_never_had_it(churn, encoder, cohort):
    row = long_row(cohort)
    effects = explain_churn(churn, encoder, cohort, row, cohort.as_of).effects
    one = select(cohort, np.array([row]))
    before = np.flatnonzero((one.interactions["timestamp"] < cohort.as_of).to_numpy())
    for k in (0, 3, 5):
        deleted = before[len(before) - 6 + k]
        events = one.interactions.drop(index=deleted).reset_index(drop=True)
        p = churn_probabilities(churn, encoder.encode(replace(one, interactions=events), cohort.as_of))[0]
        expected = effects.probability - p
        assert effects.effect[len(churn.feature_names) + k] == pytest.approx(expected, abs=1e-6)


def test_masking_a_profile_feature_is_re_scoring_a_customer_without_it(churn, encoder, cohort):
    row = long_row(cohort)
    effects = explain_churn(churn, encoder, cohort, row, cohort.as_of).effects
    one = select(cohort, np.array([row]))
    for name in ("age", "tier"):
        people = one.customers.copy()
        people[name] = pd.Series([np.nan if name == "age" else None], dtype="float64" if name == "age" else "str")
        p = churn_probabilities(churn, encoder.encode(replace(one, customers=people), cohort.as_of))[0]
        assert effects.effect[churn.feature_names.index(name)] == pytest.approx(effects.probability - p, abs=1e-6)


def test_an_average_over_copies_of_one_customer_is_that_customer(sequence, churn, encoder, cohort):
    row = long_row(cohort)
    names = pd.Index([f"copy {k}" for k in range(12)], dtype="str")
    twelve, copies = select(cohort, np.full(12, row), names), np.arange(12)
    single, mean = (
        explain_sequence(sequence, encoder, cohort, row, cohort.as_of),
        average_sequence(sequence, encoder, twelve, copies, cohort.as_of, n_latest=6),
    )
    assert mean.attention.n_customers == 12
    np.testing.assert_allclose(mean.attention.weights, single.attention.weights, atol=1e-5)
    np.testing.assert_allclose(mean.effects.effect, np.abs(single.effects.effect), atol=1e-5)
    one, many = (
        explain_churn(churn, encoder, cohort, row, cohort.as_of),
        average_churn(churn, encoder, twelve, copies, cohort.as_of),
    )
    n = len(churn.feature_names)
    np.testing.assert_allclose(many.effects.effect, np.abs(one.effects.effect[:n]), atol=1e-5)
    np.testing.assert_allclose(many.attention.weights.sum(axis=-1), 1, atol=1e-5)


def test_customers_without_or_with_one_event_are_explained_too(sequence, churn, encoder, cohort):
    people = cohort.customers.head(2)
    events = pd.DataFrame({"customer_id": [people["customer_id"][0]], "action": ["Ask for a review"]})
    events["timestamp"] = pd.Timestamp("2025-12-01")
    few = Cohort.build(
        name="t", source="t", customers=people, interactions=events, actions=cohort.actions, as_of=cohort.as_of
    )
    for row, n in ((0, 1), (1, 0)):
        assert len(explain_sequence(sequence, encoder, few, row, few.as_of).effects.effect) == n
        assert (
            len(explain_churn(churn, encoder, few, row, few.as_of).attention.tokens) == 1 + len(churn.feature_names) + n
        )


def effects(effect, attention) -> Effects:
    agreement = float(spearmanr(np.abs(effect), attention).statistic)
    return Effects(
        model="churn",
        names=("a", "b", "c"),
        kind=("feature",) * 3,
        effect=np.array(effect),
        attention=np.array(attention),
        outcome="the customer churns",
        probability=0.5,
        agreement=agreement,
    )


def test_the_note_says_where_attention_and_effect_disagree():
    assert "largely agree" in effects([-0.3, 0.2, 0.1], [0.5, 0.3, 0.2]).note()
    told = effects([0.1, 0.2, -0.3], [0.5, 0.3, 0.2]).note()
    assert "disagree" in told
    assert "most attention goes to “a”, but removing “c”" in told


def test_the_table_ranks_effects_by_size():
    table = effects([0.1, 0.2, -0.3], [0.5, 0.3, 0.2]).table()
    assert table["effect_rank"].tolist() == [3, 2, 1]
    assert table["attention_rank"].tolist() == [1, 2, 3]


def test_agreement_is_spearmans_and_unknown_for_fewer_than_three(sequence, churn, encoder, cohort):
    found = explain_churn(churn, encoder, cohort, long_row(cohort), cohort.as_of).effects
    assert found.agreement == pytest.approx(spearmanr(found.attention, np.abs(found.effect)).statistic)
