"""Plans by group of customers: how many are at risk, and how often each action occurs in their plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.planning.plans import Plans


@dataclass(frozen=True, kw_only=True)
class GroupMix:
    """Plans of G groups. labels: of the V entries of the plan vocabulary.

    customers, at_risk (G,): how many. steps (G, V): occurrences of each action in their plans.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    customers: np.ndarray
    at_risk: np.ndarray
    steps: np.ndarray

    def table(self) -> pd.DataFrame:
        """One row per group that has customers: `group`, `customers`, `at risk`, then each planned action's steps."""
        used = self.steps.sum(axis=0) > 0
        columns = {"group": self.names, "customers": self.customers, "at risk": self.at_risk}
        actions = {self.labels[v]: self.steps[:, v] for v in np.flatnonzero(used)}
        return pd.DataFrame(columns | actions)[self.customers > 0].reset_index(drop=True)


def mix_by_group(stream: Iterable[Plans], group: np.ndarray, names: Sequence[str]) -> GroupMix:
    """Plans, given part by part, summed by the group (N,) of each customer, an index of `names`."""
    done = 0
    labels: tuple[str, ...] = ()
    customers, at_risk, steps = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64), None
    for plans in stream:
        own, done = group[done : done + len(plans)].astype(np.int64), done + len(plans)
        if steps is None:
            labels = plans.catalogue.labels
            steps = np.zeros((len(names), len(labels)), np.int64)
        customers += np.bincount(own, minlength=len(names))
        at_risk += np.bincount(own[plans.at_risk], minlength=len(names))
        of, step = np.nonzero(plans.action >= 0)
        cells = own[of] * len(labels) + plans.action[of, step]
        steps += np.bincount(cells, minlength=steps.size).reshape(steps.shape)
    assert steps is not None  # a stream of plans has at least one part
    return GroupMix(names=tuple(names), labels=labels, customers=customers, at_risk=at_risk, steps=steps)
