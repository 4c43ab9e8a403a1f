"""Presets: how a CRM system wants its file, and the linter of each row before it leaves.

Text is exact: no apostrophe before what a spreadsheet might run, because an importer would store it. Sources:
Salesforce Bulk API 2.0 (prepare CSV files), HubSpot (set up your import file), Braze (CSV import), Klaviyo (bulk
profile import).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crm_models.core.errors import ConfigError

PresetName = Literal["csv", "salesforce", "hubspot", "braze", "klaviyo"]

FIELDS = (
    "churn_risk",
    "at_risk",
    "plan_source",
    "plan_step_1",
    "plan_step_2",
    "plan_step_3",
    "plan_action",
    "holdout",
)
"""What every preset tells the CRM system about a customer, beside the identifier and the time of scoring."""

EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+")
PHONE = re.compile(r"\+[1-9]\d{6,14}")
DIGITS = re.compile(r"\d+")
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, kw_only=True)
class Identifier:
    """A column that identifies a customer: its longest value, and the shape that a value must have."""

    longest: int = 255
    shape: re.Pattern[str] | None = None
    shape_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A system's file: identifiers by column name (the first is the default), names of the columns, and its limits.

    true, false, blank: how these are written; blank also clears a field. most_bytes, most_rows: of one file, more files
    follow. no_commas: whether text must not hold a comma.
    """

    name: str
    identifiers: dict[str, Identifier]
    column: Callable[[str], str]
    scored_at: str
    true: str = "true"
    false: str = "false"
    blank: str = ""
    most_bytes: int = 512 * 10**6
    most_rows: int = 10**9
    no_commas: bool = False

    def identifier(self, name: str | None) -> str:
        """The identifier column of that name, or the default one. `ConfigError` if the system has none of that name."""
        name = name or next(iter(self.identifiers))
        if name not in self.identifiers:
            raise ConfigError(f"{self.name} identifies customers by {', '.join(self.identifiers)}; found {name!r}")
        return name


def _salesforce(field: str) -> str:
    return "_".join(word.capitalize() for word in field.split("_")) + "__c"


PRESETS: dict[str, Preset] = {
    "salesforce": Preset(
        name="Salesforce",
        identifiers={
            "External_Id__c": Identifier(),
            "Id": Identifier(longest=18, shape=re.compile(r"\w{15}(\w{3})?"), shape_name="15 or 18 characters"),
        },
        column=_salesforce,
        scored_at="Scored_At__c",
        blank="#N/A",
        most_bytes=100 * 10**6,
    ),
    "hubspot": Preset(
        name="HubSpot",
        identifiers={
            "Email": Identifier(longest=254, shape=EMAIL, shape_name="an e-mail address"),
            "Record ID": Identifier(longest=19, shape=DIGITS, shape_name="digits"),
        },
        column=str,
        scored_at="scored_at",
        most_rows=1_048_575,  # and the header
    ),
    "braze": Preset(
        name="Braze",
        identifiers={
            "external_id": Identifier(longest=997),
            "braze_id": Identifier(
                longest=24, shape=re.compile(r"[0-9a-f]{24}"), shape_name="24 hexadecimal characters"
            ),
            "user_alias_name": Identifier(),
        },
        column=str,
        scored_at="scored_at",
        true="TRUE",
        false="FALSE",
        blank="none",
        most_bytes=500 * 10**6,
        no_commas=True,
    ),
    "klaviyo": Preset(
        name="Klaviyo",
        identifiers={
            "external_id": Identifier(),
            "email": Identifier(longest=254, shape=EMAIL, shape_name="an e-mail address"),
            "phone_number": Identifier(longest=16, shape=PHONE, shape_name="a number such as +4915112345678"),
        },
        column=str,
        scored_at="scored_at",
        blank="none",
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name. Raises `ConfigError` if there is none."""
    if name not in PRESETS:
        raise ConfigError(f"preset must be csv, {', '.join(PRESETS)}; found {name!r}")
    return PRESETS[name]


# ---- the linter ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Why a row is rejected. row: counts from 1, in the order of the campaign."""

    row: int
    customer_id: str
    column: str
    value: str
    rule: str


def lint_identifiers(kind: Identifier, column: str, values: np.ndarray, customer_id: np.ndarray) -> list[Problem]:
    """Problems of the identifiers (N,): missing, doubled, too long, of a wrong shape, or with control characters.

    Of a doubled identifier every row is rejected, because nobody can say which one is meant.
    """
    distinct, inverse = np.unique(values, return_inverse=True)
    # Addresses that differ in capitals only are the same contact.
    same = np.array([str(value).lower() if kind.shape is EMAIL else str(value) for value in distinct])
    names, n_rows = np.unique(same[inverse], return_counts=True)
    counts = n_rows[np.searchsorted(names, same)]
    problems = []
    for k, value in enumerate(distinct):
        text = str(value)
        rule = ""
        if not text.strip():
            rule = "identifier is missing"
        elif CONTROL.search(text):
            rule = "control character"
        elif text != text.strip():
            rule = "blank before or after the identifier"
        elif len(text) > kind.longest:
            rule = f"longer than {kind.longest} characters"
        elif kind.shape is not None and not kind.shape.fullmatch(text):
            rule = f"expected {kind.shape_name}"
        elif counts[k] > 1:
            rule = f"identifier occurs {counts[k]} times"
        if rule:
            problems.append((k, rule))
    if not problems:
        return []
    by_value = dict(problems)
    rows = np.flatnonzero(np.isin(inverse, list(by_value)))
    return [
        Problem(int(row) + 1, str(customer_id[row]), column, str(values[row])[:80], by_value[int(inverse[row])])
        for row in rows
    ]


def lint_label(made_for: Preset, label: str) -> str:
    """Why a text cannot be sent to a system; "" if it can."""
    if CONTROL.search(label):
        return "control character"
    if made_for.no_commas and "," in label:
        return "comma in a text"
    if len(label) > 255:
        return "longer than 255 characters"
    return ""
