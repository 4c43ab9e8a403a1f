"""The policy: its formula by hand, and what it refuses."""

import numpy as np
import pytest

from crm_models.core.errors import ConfigError
from crm_models.planning.policy import Policy, is_at_risk, rounded


@pytest.mark.parametrize(
    ("p", "threshold", "intensity", "k"),
    [
        (0.5, 0.5, 1.0, 0),  # at the threshold is not above it
        (0.51, 0.5, 1.0, 1),  # 3 * 0.01 / 0.5 = 0.06
        (0.7, 0.4, 1.0, 2),  # 3 * 0.3 / 0.6 = 1.5
        (0.8, 0.4, 1.0, 2),  # 3 * 0.4 / 0.6 = 2 exactly, whatever the last binary digit says
        (0.81, 0.4, 1.0, 3),
        (1.0, 0.5, 1.0, 3),
        (1.0, 0.5, 9.0, 3),  # never more than there are steps
        (0.9, 0.5, 0.5, 2),  # 3 * 0.5 * 0.8 = 1.2
        (1.0, 0.5, 0.0, 0),  # intensity 0 changes nothing
        (1.0, 1.0, 1.0, 0),  # nobody exceeds 1
        (float("nan"), 0.5, 1.0, 0),
    ],
)
def test_graded_steps_by_hand(p, threshold, intensity, k):
    policy = Policy(mode="graded", threshold=threshold, intensity=intensity)
    assert policy.n_retention(np.array([p])).tolist() == [k]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"mode": "nudge"}, "mode"),
        ({"intensity": -1.0}, "intensity"),
        ({"intensity": float("inf")}, "intensity"),
        ({"retention_actions": ("a", "b")}, "at least 3"),
        ({"retention_actions": ("a", "b", "b")}, "different"),
        ({"retention_actions": ("a", "b", " ")}, "blank"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings, word):
    with pytest.raises(ConfigError, match=word):
        Policy(**settings)


def test_a_refusal_says_what_was_expected_and_what_was_found():
    with pytest.raises(ConfigError, match=r"mode must be one of override, graded; found 'strict'"):
        Policy(mode="strict")
    with pytest.raises(ConfigError, match=r"at least 3 different retention actions, none blank; found 'a', ' '"):
        Policy(retention_actions=("a", " "))


def test_a_policy_as_plain_values():
    policy = Policy(threshold=0.25, mode="graded", intensity=2.0, retention_actions=("a", "b", "c"))
    assert policy.to_dict() == {
        "threshold": 0.25,
        "mode": "graded",
        "intensity": 2.0,
        "retention_actions": ["a", "b", "c"],
    }


def test_at_risk_is_strictly_above_the_threshold_in_the_six_digits_that_a_file_shows():
    p = np.array([0.5, 0.5000004, 0.5000006, 0.4, 1.0, np.nan])
    assert is_at_risk(p, 0.5).tolist() == [False, False, True, False, True, False]
    assert Policy(threshold=0.5).at_risk(p).tolist() == is_at_risk(p, 0.5).tolist()
    assert rounded(np.array([0.12345649, np.nan])).tolist() == pytest.approx([0.123456, np.nan], nan_ok=True)


def test_the_last_binary_digits_do_not_add_a_step_and_the_tenth_decimal_does():
    policy = Policy(threshold=0.4, mode="graded")
    assert policy.n_retention(np.array([0.8])).tolist() == [2]  # 3 * 0.4 / 0.6 is 2.0000000000000004 in binary
    assert policy.n_retention(np.array([0.800001])).tolist() == [3]
