"""Control group: which customers a campaign leaves out, by a hash that any warehouse can repeat; and its power.

u = the first 32 bits of md5(salt + ":" + customer_id), as a share of 2^32. Customers with u below the holdout share are
the control group, those up to holdout + explore get a random allowed action or none, the others get the plan. A larger
share keeps everybody who is in the control group of a smaller one.

`SQL` says the same for warehouses.

Letters: N customers, V actions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import md5
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from crm_models.core.errors import ConfigError

ARMS = ("plan", "holdout", "explore", "none")
PLAN, HOLDOUT, EXPLORE, NOT_TARGETED = range(len(ARMS))

Reading = Literal["at_end", "any_time"]

SQL = {
    "DuckDB": "('0x' || substr(md5('{salt}' || ':' || customer_id), 1, 8))::UBIGINT / 4294967296.0 < {holdout}",
    "PostgreSQL": "('x' || substr(md5('{salt}' || ':' || customer_id), 1, 8))::bit(32)::bigint / 4294967296.0 "
    "< {holdout}",
    "BigQuery": "CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5(CONCAT('{salt}', ':', customer_id))), 1, 8)) AS INT64) "
    "/ 4294967296.0 < {holdout}",
    "Snowflake": "TO_NUMBER(SUBSTR(MD5('{salt}' || ':' || customer_id), 1, 8), 'XXXXXXXX') / 4294967296.0 < {holdout}",
}
"""Conditions that are true for the control group; those of DuckDB and PostgreSQL are run by the tests.

The X of Snowflake are its format for a hexadecimal number of so many digits."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """How customers are assigned, and how the effect will be read; fixed before anything is exported.

    holdout, explore: shares of the customers. metric: what `outcome` means, in words. horizon_days: days from the
    campaign to the reading. reading: `at_end`, one look at the horizon; `any_time`, as many looks as you like.
    """

    salt: str
    holdout: float = 0.1
    explore: float = 0.0
    metric: str = "retained"
    horizon_days: float = 90.0
    reading: Reading = "at_end"

    def __post_init__(self) -> None:
        if not self.salt:
            raise ConfigError("the split needs a salt, any text; found none")
        for name in ("holdout", "explore"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be a share from 0 to below 1, found {getattr(self, name)}")
        if self.holdout + self.explore >= 1:
            raise ConfigError(
                f"holdout and explore together must leave somebody to contact, found {self.holdout + self.explore:g}"
            )
        if not 0 < self.horizon_days < math.inf:
            raise ConfigError(f"horizon_days must be above 0, found {self.horizon_days}")
        if self.reading not in get_args(Reading):
            raise ConfigError(f"reading must be at_end or any_time, found {self.reading!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Split(**values)` is the inverse."""
        return asdict(self)

    def arms(self, customer_id: Iterable[str]) -> np.ndarray:
        """(N,) int8 index in ARMS of each customer: plan, holdout or explore."""
        u = unit_hash(self.salt, customer_id)
        explored = u < self.holdout + self.explore
        return np.where(u < self.holdout, HOLDOUT, np.where(explored, EXPLORE, PLAN)).astype(np.int8)

    def sql(self, dialect: str) -> str:
        """A condition that is true for the control group, for a warehouse with a column `customer_id`."""
        salt = self.salt if dialect in ("DuckDB", "PostgreSQL") else self.salt.replace("\\", "\\\\")
        quoted = salt.replace("'", "\\'" if dialect == "BigQuery" else "''")
        return SQL[dialect].format(salt=quoted, holdout=self.holdout)


def unit_hash(salt: str, customer_id: Iterable[str]) -> np.ndarray:
    """(N,) float64 in [0, 1): the first 32 bits of md5(salt:customer_id).

    >>> unit_hash("spring", ["C000001"]).round(6)
    array([0.318681])
    """
    seeded = md5(f"{salt}:".encode(), usedforsecurity=False)

    def of(customer: str) -> bytes:
        hashed = seeded.copy()
        hashed.update(customer.encode())
        return hashed.digest()[:4]

    return np.frombuffer(b"".join(map(of, customer_id)), dtype=">u4") / 2.0**32


def explored(salt: str, customer_id: Iterable[str], allowed: np.ndarray) -> np.ndarray:
    """(N,) code of an action drawn uniformly from each customer's allowed ones (N, V) and none, -1 for none.

    Drawn by a second hash of the id, independent of the one that assigns the arm.
    """
    draw = unit_hash(f"{salt}:action", customer_id)
    n_choices = allowed.sum(axis=1) + 1
    choice = np.floor(draw * n_choices).astype(np.int64)  # 0: none
    place = np.cumsum(allowed, axis=1)
    action = (place < choice[:, None]).sum(axis=1)
    return np.where(choice == 0, -1, action)


def propensity(split: Split, action: np.ndarray, plan: np.ndarray, n_choices: np.ndarray) -> np.ndarray:
    """(N,) probability that a customer is given `action` (-1: none) when the plan says `plan`.

    n_choices (N,): allowed actions, and none. Over all choices of a customer the probabilities sum to 1.
    """
    return (
        split.explore / n_choices
        + (1 - split.holdout - split.explore) * (action == plan)
        + split.holdout * (action == -1)
    )


# ---- power -----------------------------------------------------------------------------------------------------------


def detectable(n_control: float, n_treated: float, share: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest rise of a share that a two-sided test finds with this power; NaN if none can be found.

    share: in the control group. d = (z_{1-alpha/2} + z_power) sqrt(p (1-p) / n_c + (p+d)(1-p-d) / n_t), whose two
    variances differ: with equal ones the power would be 78.5 % where 80 % were asked.

    >>> round(detectable(1_000, 9_000, 0.5), 4)
    0.0467
    """
    if min(n_control, n_treated) <= 0:
        return math.nan
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))

    def short(d: float) -> float:
        after = share + d
        return z * math.sqrt(share * (1 - share) / n_control + after * (1 - after) / n_treated) - d

    if short(1 - share) >= 0:
        return math.nan
    return float(brentq(short, 1e-12, 1 - share))  # at 0 and a share of 0, nothing varies and nothing is short


def customers_needed(
    difference: float, share: float, holdout: float, *, power: float = 0.8, alpha: float = 0.05
) -> int:
    """How many customers, in both arms together, a rise of a share by `difference` needs to be found.

    >>> customers_needed(0.05, 0.5, 0.1)
    8713
    """
    if not 0 < difference < 1 - share or not 0 < holdout < 1:
        raise ConfigError(
            f"expected a difference between 0 and {1 - share:g} and a control group; found {difference:g}, {holdout:g}"
        )
    z = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    after = share + difference
    per_customer = share * (1 - share) / holdout + after * (1 - after) / (1 - holdout)
    return math.ceil(z**2 * per_customer / difference**2)
