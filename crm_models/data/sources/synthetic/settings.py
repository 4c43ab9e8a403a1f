"""Settings of a generated cohort, and its random streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError

Scenario = Literal["paper", "lifelike"]

STREAMS = ("segments", "profile", "lengths", "actions", "times", "values", "labels", "products")

AS_OF = pd.Timestamp("2026-01-01")
MINUTES_PER_DAY = 1440


@dataclass(frozen=True, kw_only=True)
class ScenarioSettings:
    """Settings of a generated cohort.

    customers: None is 100 for `paper`, 5,000 for `lifelike`. signal: from 0 (pure noise) to 1 (full signal).
    """

    scenario: Scenario
    customers: int | None = None
    signal: float = 1.0
    seed: int = 0
    events: int | None = None

    def __post_init__(self) -> None:
        if self.scenario not in get_args(Scenario):
            raise ConfigError(f"scenario must be paper or lifelike, found {self.scenario!r}")
        if self.customers is not None and not 1 <= self.customers <= 50_000_000:
            raise ConfigError(f"customers must lie between 1 and 50,000,000, found {self.customers}")
        if self.events is not None and not (self.scenario == "lifelike" and 0 <= self.events <= 1000):
            raise ConfigError(
                f"events must lie between 0 and 1000 and needs the scenario lifelike, found {self.events}"
            )
        if not 0 <= self.signal <= 1:
            raise ConfigError(f"signal must lie between 0 and 1, found {self.signal}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must lie between 0 and {2**32 - 1}, found {self.seed}")

    def rng(self, stream: str) -> np.random.Generator:
        """The random stream for one purpose."""
        return np.random.default_rng([self.seed, STREAMS.index(stream)])
