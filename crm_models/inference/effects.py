"""What an explanation says: an attention map, and the effect of each event or feature beside its attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from crm_models.core.schema import ModelName


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """Attention weights (layers, heads, T, T): row attends to column, rows sum to one.

    tokens (T,): labels of both axes. reader: the row that the prediction is computed from. n_customers: how many
    customers the map is averaged over, or 1.
    """

    model: ModelName
    tokens: tuple[str, ...]
    weights: np.ndarray
    reader: int
    n_customers: int

    def read_weights(self) -> np.ndarray:
        """(T,) attention of the row `reader`, averaged over layers and heads."""
        return self.weights[:, :, self.reader].mean(axis=(0, 1))


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Effect of each event or feature on a prediction, beside its attention.

    names (M,). kind (M,): `event` or `feature`. effect (M,): probability minus probability without it; over several
    customers, the mean of its absolute value. attention (M,). outcome: the predicted outcome in words; probability: its
    probability. agreement: Spearman's rank correlation of attention and absolute effect, None for fewer than three.
    """

    model: ModelName
    names: tuple[str, ...]
    kind: tuple[str, ...]
    effect: np.ndarray
    attention: np.ndarray
    outcome: str
    probability: float
    agreement: float | None

    @classmethod
    def of(cls, attention: np.ndarray, effect: np.ndarray, **facts: Any) -> Effects:
        """The effects with their agreement; facts: the other fields."""
        size, agreement = np.abs(effect), None
        if len(size) >= 3 and np.ptp(size) > 0 and np.ptp(attention) > 0:
            agreement = float(spearmanr(attention, size).statistic)
        return cls(attention=attention, effect=effect, agreement=agreement, **facts)

    def table(self) -> pd.DataFrame:
        """One row per event or feature: name, kind, effect, attention, and the rank of each (1 = strongest)."""
        table = pd.DataFrame(
            {"name": self.names, "kind": self.kind, "effect": self.effect, "attention": self.attention}
        )
        table["effect_rank"] = table["effect"].abs().rank(ascending=False, method="min").astype(int)
        table["attention_rank"] = table["attention"].rank(ascending=False, method="min").astype(int)
        return table

    def note(self) -> str:
        """One sentence on whether attention and effect agree."""
        if self.agreement is None:
            return "Too few events or features to compare attention with effect."
        size = np.abs(self.effect)
        most_attended, most_effective = self.names[int(self.attention.argmax())], self.names[int(size.argmax())]
        if self.agreement >= 0.5:
            return f"Attention and effect largely agree (rank correlation {self.agreement:.2f})."
        if most_attended == most_effective:
            return (
                f"Attention and effect are both highest for {_quoted(most_attended)}, but agree little on the rest "
                f"(rank correlation {self.agreement:.2f})."
            )
        return (
            f"Attention and effect disagree (rank correlation {self.agreement:.2f}): among {self._inputs()}, most "
            f"attention goes to {_quoted(most_attended)}, but removing {_quoted(most_effective)} changes the "
            "prediction most."
        )

    def _inputs(self) -> str:
        """What is compared: events, features, or both."""
        kinds = sorted(set(self.kind))
        return " and ".join(f"{kind}s" for kind in kinds)


def _quoted(name: str) -> str:
    """A name from the data in quotes; the place of an event ("the 2nd latest event") without."""
    return f"the {name}" if name.endswith("latest event") else f"“{name}”"


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """An attention map and the effects of the same events or features."""

    attention: AttentionMap
    effects: Effects
