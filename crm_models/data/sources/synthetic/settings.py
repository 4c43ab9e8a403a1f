"""Settings of a generated cohort, and its random streams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.core.config import one_of
from crm_models.core.errors import ConfigError
from crm_models.core.schema import SCENARIOS, Scenario

MOST_EVENTS: dict[Scenario, int] = {"lifelike": 1000, "movielens": 40, "amazon": 40, "churn": 40}
"""Longest history that can be asked for; in a catalogue of 50 items, ten are left for what comes next."""


STREAMS = ("segments", "profile", "lengths", "actions", "times", "values", "labels", "products")

AS_OF = pd.Timestamp("2026-01-01")
MINUTES_PER_DAY = 1440


@dataclass(frozen=True, kw_only=True)
class ScenarioSettings:
    """Settings of a generated cohort.

    customers: None is 5,000 for `lifelike`, and 100, as in the paper, for the others. signal: from 0 (pure noise) to 1
    (full signal). events: length of every history.
    """

    scenario: Scenario
    customers: int | None = None
    signal: float = 1.0
    seed: int = 0
    events: int | None = None

    def __post_init__(self) -> None:
        one_of("scenario", self.scenario, SCENARIOS)
        if self.customers is not None and not 1 <= self.customers <= 50_000_000:
            raise ConfigError(f"customers must lie between 1 and 50,000,000, found {self.customers}")
        if self.events is not None and not (0 <= self.events <= MOST_EVENTS.get(self.scenario, -1)):
            allowed = ", ".join(f"{name} 0 to {n}" for name, n in MOST_EVENTS.items())
            raise ConfigError(
                f"events must fit the scenario ({allowed}); found {self.events} for the scenario {self.scenario}"
            )
        if not 0 <= self.signal <= 1:
            raise ConfigError(f"signal must lie between 0 and 1, found {self.signal}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must lie between 0 and {2**32 - 1}, found {self.seed}")

    def rng(self, stream: str) -> np.random.Generator:
        """The random stream for one purpose."""
        return np.random.default_rng([self.seed, STREAMS.index(stream)])
