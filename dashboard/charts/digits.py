"""How numbers are written on every page and in every chart: one rule for each kind of number. No streamlit here.

A share or probability: percent with one digit ("44.1%"). A threshold: two digits, as the slider has. A score: three
digits. A count: thousands separated by commas. A change of a probability: points with one digit ("+3.2 points").
"""

from __future__ import annotations

UNKNOWN = "–"


def share(value: float | None) -> str:
    """A share or probability in [0, 1] as a percentage; small ones keep one significant digit."""
    if value is None or value != value:
        return UNKNOWN
    if value >= 0.0005 or value == 0:
        return f"{value:.1%}"
    return f"{100 * value:.1g}%" if value >= 1e-6 else "below 0.0001%"


def threshold(value: float) -> str:
    """A churn threshold."""
    return f"{value:.2f}"


def score(value: float | None) -> str:
    """A score such as an AUC or a loss."""
    return UNKNOWN if value is None or value != value else f"{value:.3f}"


def points(change: float) -> str:
    """A change of a probability, in percentage points with its sign."""
    return f"{signed(100 * change)} points"


def signed(number: float) -> str:
    """A number of points with its sign; what rounds to nothing has none."""
    return f"{number:+.1f}" if abs(number) >= 0.05 else "0.0"


def count(n: int, noun: str, plural: str = "") -> str:
    """A number of things: "1 customer", "1,200 customers"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"
