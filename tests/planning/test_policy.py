"""The policy: its formula by hand, and what it refuses."""

import numpy as np
import pytest

from crm_models.core.errors import ConfigError
from crm_models.planning.policy import Policy


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
