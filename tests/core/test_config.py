"""Settings cannot be wrong silently: bad values and unknown names are refused, JSON round trips are exact."""

import json
from dataclasses import replace

import pytest

from crm_models.core.config import ChurnConfig, RunConfig, SequenceConfig, TrainingConfig
from crm_models.core.errors import ConfigError
from crm_models.core.presets import preset
from crm_models.core.schema import PRESET_NAMES


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_preset_survives_json(name):
    config = preset(name)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.preset == name


def test_the_paper_preset_is_the_papers_methodology():
    config = preset("paper")
    sequence, churn = config.sequence, config.churn
    assert (sequence.d_model, sequence.n_heads, sequence.d_feedforward) == (32, 2, 32)
    assert (churn.d_model, churn.n_heads, churn.d_feedforward) == (16, 2, 16)
    for model in ("sequence", "churn"):
        training = config.training(model)
        assert (training.n_epochs, training.learning_rate, training.batch_size) == (10, 1e-3, None)
        assert training.l2_in_loss
        assert training.monitor == "train"
    assert (config.test_share, config.valid_share) == (0.2, 0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SequenceConfig(d_model=30, n_heads=4), "d_model=30 is not a multiple of n_heads=4"),
        (lambda: SequenceConfig(max_events=0), "max_events must be at least 1"),
        (lambda: SequenceConfig(d_model=1_000_000_000), "d_model must be at most 16,384, found 1,000,000,000"),
        (lambda: ChurnConfig(n_blocks=10**6), "n_blocks must be at most 512"),
        (lambda: ChurnConfig(n_bins=2.5), "n_bins must be a whole number, found 2.5"),
        (lambda: ChurnConfig(dropout=1.0), "dropout must lie in"),
        (lambda: TrainingConfig(n_epochs=0), "n_epochs must be at least 1"),
        (lambda: TrainingConfig(learning_rate=float("nan")), "learning_rate must lie between"),
        (lambda: TrainingConfig(monitor="test"), "monitor must be one of train, valid, last"),
        (lambda: RunConfig(models=()), "models must name"),
        (lambda: RunConfig(seed=-1), "seed must lie between"),
        (lambda: RunConfig(test_share=0.9, valid_share=0.2), "leave nothing to train on"),
        (lambda: preset("best"), "preset must be one of paper, standard, strong, large; found 'best'"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_unknown_setting_is_refused_not_ignored():
    given = RunConfig().to_dict()
    given["sequence"]["d_modle"] = 32
    with pytest.raises(ConfigError, match="unknown setting 'd_modle'"):
        RunConfig.from_dict(given)


def test_with_epochs_changes_both_models_and_nothing_else():
    config = RunConfig().with_epochs(3)
    assert (config.sequence_training.n_epochs, config.churn_training.n_epochs) == (3, 3)
    back = replace(
        config,
        sequence_training=RunConfig().sequence_training,
        churn_training=RunConfig().churn_training,
    )
    assert back == RunConfig()


def test_a_configuration_from_before_the_repeats_means_a_model_without_them():
    written = preset("standard").to_dict()
    del written["sequence"]["use_repeat_bias"]
    assert RunConfig.from_dict(written).sequence.use_repeat_bias is False


def test_a_configuration_from_before_muon_goes_on_with_adam():
    written = preset("standard").to_dict()
    del written["churn_training"]["muon_lr_scale"]
    assert RunConfig.from_dict(written).churn_training.muon_lr_scale == 0


def test_what_is_written_is_read_as_it_was():
    assert RunConfig.from_dict(preset("standard").to_dict()) == preset("standard")
