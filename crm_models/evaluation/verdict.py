"""A report in sentences: whether a model beats its best baseline, and warnings where scores are too good to be true."""

from __future__ import annotations

from typing import Any

from crm_models.evaluation.intervals import (
    Z,
)
from crm_models.evaluation.scores import LOWER_IS_BETTER

SUSPICIOUS_AUC = 0.97
"""Above this on real data, a column that knows the answer is likelier than a good model."""

WORTH_A_SENTENCE = 0.01
"""AUC by which the outcomes as drawn must move the ceiling before a note says so."""

ALARM = 3.29 / Z
"""How many half-intervals above the ceiling raise an alarm: luck goes that far in one of a thousand evaluations."""

FEWEST_COMPARED = 10
"""With fewer customers than this no model is said to be better than another."""

_IN_WORDS = {
    "step_accuracy": "step accuracy",
    "plan_accuracy": "plan accuracy",
    "loss": "loss",
    "hr_at_1": "HR@1, the next action alone,",
    "log_loss": "log loss",
    "auc": "AUC",
}


def verdict(name: str, part: dict[str, Any], score: str | None = None) -> str:
    """Whether a part of a report (`sequence` or `churn`) beats its best baseline, in one sentence.

    score: one of those in `comparisons`; the first of them if None.
    """
    told = {comparison["score"]: comparison for comparison in part["comparisons"]}
    gap = part["over_best_baseline"] if score is None else told[score]
    other, what = gap["baseline"].replace("_", " "), _IN_WORDS[gap["score"]]
    if part["customers"] < FEWEST_COMPARED or gap["low"] is None:
        return f"{part['customers']} held-out customers are too few to compare the {name} model with the baselines."
    better, worse = ("lower", "higher") if gap["score"] in LOWER_IS_BETTER else ("higher", "lower")
    size = abs(gap["value"])
    ends = sorted(abs(gap[end]) for end in ("low", "high"))
    figures = f"{what} {{}} by {size:.3f}, 95 % interval {ends[0]:.3f} to {ends[1]:.3f}"
    if gap["low"] > 0:
        return f"The {name} model beats the best baseline ({other}): {figures.format(better)}."
    if gap["high"] < 0:
        return f"The {name} model is worse than the best baseline ({other}): {figures.format(worse)}."
    how = "equal" if size < 0.0005 else f"{better if gap['value'] > 0 else worse} by {size:.3f}"
    return f"The {name} model and the best baseline ({other}) differ by no more than sampling error: {what} {how}."


def _standing(gap: dict[str, Any]) -> int:
    """1 where ours is better than the baseline beyond sampling error, -1 where it is worse, else 0."""
    if gap["low"] is None:
        return 0
    return int(gap["low"] > 0) - int(gap["high"] < 0)


def notes(parts: dict[str, dict[str, Any] | None]) -> list[str]:
    """Plain sentences on what the scores mean, and warnings where they are too good to be true."""
    said = []
    for name, part in parts.items():
        if part is None:
            said.append(
                f"There are no {name} scores: the run has no {name} model, or no held-out customer has a known outcome."
            )
        else:
            said.append(verdict(name, part))
            # The first guess of each step and the probabilities of all can tell different stories.
            headline = _standing(part["over_best_baseline"])
            said += [verdict(name, part, c["score"]) for c in part["comparisons"][1:] if _standing(c) != headline]
            said += _chosen_together(part)
            said += _above_ceiling(name, part)
            said += _luck(part)
    churn = parts["churn"]
    if churn is not None and churn["auc"] is None:
        said.append("The churn AUC is unknown: the test customers are all of one class.")
    elif churn is not None and churn["ceiling"] is None and churn["auc"] > SUSPICIOUS_AUC:
        said.append(
            f"The churn AUC of {churn['auc']:.3f} is suspiciously high: look for a column that is known only after the "
            "customer has left."
        )
    return said


def _chosen_together(part: dict[str, Any]) -> list[str]:
    """Why a model may be right less often step by step, where it is right more often in whole plans."""
    told = {comparison["score"]: _standing(comparison) for comparison in part["comparisons"]}
    if not told.get("step_accuracy", 0) < 0 < told.get("plan_accuracy", 0):
        return []
    return [
        "A plan is the three steps that are most probable together. One common action, planned three times, can be "
        "right in more single steps, and as a whole plan hardly ever."
    ]


def _luck(part: dict[str, Any]) -> list[str]:
    """What the drawn outcomes make of the ceiling, where that is worth a sentence."""
    expected, drawn = ((part.get(name) or {}).get("auc") for name in ("ceiling", "ceiling_as_drawn"))
    if expected is None or drawn is None or abs(drawn - expected) < WORTH_A_SENTENCE:
        return []
    return [
        f"Who leaves is drawn by chance: on these {part['customers']:,} customers the true probabilities themselves "
        f"have an AUC of {drawn:.3f}, where {expected:.3f} is to be expected."
    ]


def _above_ceiling(name: str, part: dict[str, Any]) -> list[str]:
    """A warning where the headline score lies above the ceiling by more than luck explains: the answer has leaked."""
    score = "step_accuracy" if name == "sequence" else "auc"
    ours, ceiling = part[score], (part["ceiling"] or {}).get(score)
    if ours is None or ceiling is None or score not in part["intervals"]:
        return []
    if ours - ALARM * (ours - part["intervals"][score][0]) <= ceiling:
        return []
    return [
        f"The {name} model's {_IN_WORDS[score]} of {ours:.3f} is above the ceiling of {ceiling:.3f} by more than luck "
        "explains: the answer must have leaked into what it reads."
    ]
