"""Notes on a report: whether each model beats its best baseline, and warnings about scores too good to be true."""

from __future__ import annotations

from typing import Any, Literal

from crm_models.evaluation.intervals import Z
from crm_models.evaluation.scores import LOWER_IS_BETTER

SUSPICIOUS_AUC = 0.97
"""AUC on real data above which a leaking column is likelier than a good model."""

CEILING_TOLERANCE = 0.01
"""Least difference in AUC between the expected ceiling and the ceiling on the drawn outcomes that gets a note."""

LEAK_HALF_WIDTHS = 3.29 / Z
"""Half-widths of the interval above the ceiling that get a warning: chance reaches them in one of 1,000 evaluations."""

FEWEST_COMPARED = 10
"""Least number of customers to compare models on."""

_IN_WORDS = {
    "step_accuracy": "step accuracy",
    "plan_accuracy": "plan accuracy",
    "single_step_accuracy": "step accuracy of single steps",
    "loss": "loss",
    "hr_at_1": "HR@1, the next action alone,",
    "log_loss": "log loss",
    "auc": "AUC",
}


_BASELINES = {"markov": "Markov chain", "markov_2": "Markov chain of order 2"}


def _in_words(baseline: str) -> str:
    return _BASELINES.get(baseline, baseline.replace("_", " "))


def verdict(name: str, part: dict[str, Any], score: str | None = None) -> str:
    """One sentence on whether a part of a report (`sequence` or `churn`) beats its best baseline.

    score: a score of `comparisons`; None: the headline score.
    """
    comparisons = {comparison["score"]: comparison for comparison in part["comparisons"]}
    gap = part["over_best_baseline"] if score is None else comparisons[score]
    baseline, score_name = _in_words(gap["baseline"]), _IN_WORDS[gap["score"]]
    if part["customers"] < FEWEST_COMPARED or gap["low"] is None:
        return f"{part['customers']} held-out customers are too few to compare the {name} model with the baselines."
    better, worse = ("lower", "higher") if gap["score"] in LOWER_IS_BETTER else ("higher", "lower")
    size = abs(gap["value"])
    ends = sorted(abs(gap[end]) for end in ("low", "high"))
    figures = f"{score_name} {{}} by {size:.3f}, 95% interval {ends[0]:.3f} to {ends[1]:.3f}"
    if gap["low"] > 0:
        return f"The {name} model beats the best baseline ({baseline}): {figures.format(better)}."
    if gap["high"] < 0:
        return f"The {name} model is worse than the best baseline ({baseline}): {figures.format(worse)}."
    difference = "equal" if size < 0.0005 else f"{better if gap['value'] > 0 else worse} by {size:.3f}"
    models = f"The {name} model and the best baseline ({baseline})"
    return f"{models} differ by no more than sampling error: {score_name} {difference}."


def beside_baseline(part: dict[str, Any], score: str) -> list[str]:
    """What the best baseline reaches in a score of `comparisons`, and whether the model differs; [] without one."""
    for gap in part["comparisons"]:
        if gap["score"] == score:
            name = _in_words(gap["baseline"])
            standing = {1: "better than", 0: "no different from", -1: "worse than"}[_standing(gap)]
            return [f"{standing} the best baseline, {name} {part['baselines'][gap['baseline']][score]:.3f}"]
    return []


def no_better(parts: dict[str, dict[str, Any] | None]) -> list[str]:
    """The verdict on each model that does not beat its best baseline beyond sampling error."""
    return [
        verdict(name, part)
        for name, part in parts.items()
        if part is not None and part.get("comparisons") and _standing(part["over_best_baseline"]) < 1
    ]


def _standing(gap: dict[str, Any]) -> int:
    """1 if ours is better than the baseline beyond sampling error, -1 if it is worse, else 0."""
    if gap["low"] is None:
        return 0
    return int(gap["low"] > 0) - int(gap["high"] < 0)


def notes(parts: dict[str, dict[str, Any] | None]) -> list[str]:
    """Plain sentences on what the scores mean, and warnings about scores too good to be true."""
    sentences = []
    for name, part in parts.items():
        if part is None:
            sentences.append(
                f"There are no {name} scores: the run has no {name} model, or no held-out customer has a known outcome."
            )
        else:
            sentences.append(verdict(name, part))
            # Other scores get a sentence of their own if they lead to another conclusion.
            headline = _standing(part["over_best_baseline"])
            other = [c["score"] for c in part["comparisons"][1:] if _standing(c) != headline]
            sentences += [_by_another_score(score, verdict(name, part, score)) for score in other]
            sentences += _joint_plans(part)
            sentences += _above_ceiling(name, part)
            sentences += _drawn_ceiling(part)
    churn = parts["churn"]
    if churn is not None and churn["auc"] is None:
        sentences.append("The churn AUC is unknown: the test customers are all of one class.")
    elif churn is not None and churn["ceiling"] is None and churn["auc"] > SUSPICIOUS_AUC:
        sentences.append(
            f"The churn AUC of {churn['auc']:.3f} is suspiciously high: look for a column that is known only after the "
            "customer has left."
        )
    return sentences


def _by_another_score(score: str, sentence: str) -> str:
    """A verdict by another score than the headline, which leads to another conclusion."""
    return f"By {_IN_WORDS[score].rstrip(',')}, {sentence[0].lower()}{sentence[1:]}"


def _joint_plans(part: dict[str, Any]) -> list[str]:
    """Why a model is better in whole plans but worse in single steps, if it is."""
    standings = {comparison["score"]: _standing(comparison) for comparison in part["comparisons"]}
    if not standings.get("step_accuracy", 0) < 0 < standings.get("plan_accuracy", 0):
        return []
    return [
        "A plan is the three steps that are most probable together. Planning one common action three times can get "
        "more single steps right, but hardly ever a whole plan."
    ]


def _drawn_ceiling(part: dict[str, Any]) -> list[str]:
    """A note if the ceiling on the drawn outcomes differs from the expected one."""
    expected, drawn = ((part.get(name) or {}).get("auc") for name in ("ceiling", "ceiling_as_drawn"))
    if expected is None or drawn is None or abs(drawn - expected) < CEILING_TOLERANCE:
        return []
    return [
        f"By chance, the true probabilities themselves have an AUC of {drawn:.3f} on these {part['customers']:,} "
        f"customers ({expected:.3f} expected)."
    ]


def _above_ceiling(name: str, part: dict[str, Any]) -> list[str]:
    """A warning if the score is above the ceiling by more than chance: the outcome has leaked into the inputs."""
    score = "step_accuracy" if name == "sequence" else "auc"
    ours, ceiling = part[score], (part["ceiling"] or {}).get(score)
    if ours is None or ceiling is None or score not in part["intervals"]:
        return []
    if ours - LEAK_HALF_WIDTHS * (ours - part["intervals"][score][0]) <= ceiling:
        return []
    return [
        f"The {name} model's {_IN_WORDS[score]} of {ours:.3f} is above the ceiling of {ceiling:.3f} by more than "
        "chance: its inputs must contain the outcome (a data leak)."
    ]


def tone(note: str) -> Literal["good", "warning", "neutral"]:
    """Whether a note of a report is good news, a warning or neither, told by the words that this module uses."""
    if any(words in note for words in ("is worse than", "suspiciously", "above the ceiling")):
        return "warning"
    return "good" if " beats the best baseline" in note else "neutral"
