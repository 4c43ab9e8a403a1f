"""The package's advice in the words of the app: its options are switches and boxes here."""

from __future__ import annotations

import re

WORDS = (
    (r" \(--column maps others\)", ""),
    (r"; perhaps --column (\S+)=(.+)$", r"; perhaps choose \2 for \1"),
    (r"; map the right columns with --column", "; choose the right columns above"),
    (r", unless --column action=(\S+) is given", r", unless \1 is chosen as the action"),
    (r"; --drop the other one", "; leave the other one out"),
    (r"; if another word means churned, give it with --positive", "; choose above which value means churned"),
    (r"--skip-bad-rows leaves (it|them) out", r"the switch above leaves \1 out"),
    (r" --as-of DATE says when the export was made\.", " The box “Export made on” says when the export was made."),
    (r"choose another encoding \(--encoding\)", "choose another encoding for this file"),
    (r"drop it \(--drop\)", "leave it out"),
    (r"Drop it \(--drop\)", "Leave it out"),
    (r", or label churn by inactivity \(--churn-days\)", ", or label inactive customers as churned"),
    (r"leave out --churn-days, or drop the label column", "do not label inactive customers, or leave the label out"),
    (r"leave out --churn-days", "do not label inactive customers"),
    (r"use a smaller --churn-days", "use fewer days"),
    (r"; (?:or )?use `(?:python -m crm_models )?import \w+` instead", "; the command line imports larger ones"),
    (r"see rejected\.csv", "the list can be downloaded"),
)
"""What the package says, as a pattern, and what the app says instead."""


def in_app_words(text: str) -> str:
    """A message of the package without options of the command line."""
    for pattern, ours in WORDS:
        text = re.sub(pattern, ours, text)
    return text
