"""Presets: how a CRM system wants its file, and the linter of each row before it leaves.

Text is exact: no apostrophe before what a spreadsheet might run, because an importer would store it. The limits are
those of the largest way in; `Preset.within` says smaller ones. Sources: Salesforce (Bulk API 2.0, prepare CSV files;
how large can my import file be), HubSpot (set up import files), Braze (CSV import), Klaviyo (requirements for
formatting CSVs).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

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

TEXTS = ("plan_step_1", "plan_step_2", "plan_step_3", "plan_action")
"""Those of them that are names of actions."""

EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]+")
PHONE = re.compile(r"\+[1-9]\d{6,14}")
DIGITS = re.compile(r"\d+")
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export.

    identifier: the system's column, if not its usual one. id_column: column of the customers with the identifiers, if
    not `customer_id`. alias_label: for Braze's user_alias_name. changed_only: only rows that differ from what was
    confirmed as loaded, by this campaign or one beside it. targeted_only: leave out customers whom the campaign is not
    for. api_exact: for csv, no apostrophe before formulas. most_mb, most_rows: of one file, where your way into the
    system takes less than the largest.
    """

    preset: PresetName = "csv"
    identifier: str | None = None
    id_column: str | None = None
    alias_label: str = ""
    changed_only: bool = False
    targeted_only: bool = False
    api_exact: bool = False
    most_mb: float | None = None
    most_rows: int | None = None

    def __post_init__(self) -> None:
        if self.identifier == "user_alias_name" and not self.alias_label:
            raise ConfigError("Braze's user_alias_name needs a label beside it; found none")


@dataclass(frozen=True, kw_only=True)
class Identifier:
    """A column that identifies a customer: its longest value, and the shape that a value must have."""

    longest: int = 255
    shape: re.Pattern[str] | None = None
    shape_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A system's file: identifiers by column name (the first is the default), names of the columns, and its limits.

    true, false, blank: how these are written; blank also clears a text, and blank_number a number where the system lets
    a file do so. most_bytes, most_rows: of one file, more files follow. no_commas: whether text must not hold a comma.
    ways: further ways in, with the megabytes and rows that they take at most.
    """

    key: PresetName
    name: str
    identifiers: dict[str, Identifier]
    column: Callable[[str], str] = str
    scored_at: str = "scored_at"
    true: str = "true"
    false: str = "false"
    blank: str = "none"
    blank_number: str = "none"
    most_bytes: int = 512 * 10**6
    most_rows: int = 10**9
    no_commas: bool = False
    ways: dict[str, tuple[float | None, int | None]] = field(default_factory=dict)

    def identifier(self, name: str | None) -> str:
        """The identifier column of that name, or the default one. `ConfigError` if the system has none of that name."""
        name = name or next(iter(self.identifiers))
        if name not in self.identifiers:
            raise ConfigError(f"{self.name} identifies customers by {', '.join(self.identifiers)}; found {name!r}")
        return name

    def within(self, most_mb: float | None, most_rows: int | None) -> Preset:
        """The same with smaller files: of so many megabytes and rows at most."""
        for what, limit in (("megabytes", most_mb), ("rows", most_rows)):
            if limit is not None and limit <= 0:
                raise ConfigError(f"{what} of a file must be above 0, found {limit}")
        return replace(
            self,
            most_bytes=self.most_bytes if most_mb is None else min(self.most_bytes, int(most_mb * 10**6)),
            most_rows=min(self.most_rows, most_rows or self.most_rows),
        )


def _salesforce(field: str) -> str:
    return "_".join(word.capitalize() for word in field.split("_")) + "__c"


PRESETS: dict[str, Preset] = {
    "salesforce": Preset(
        key="salesforce",
        name="Salesforce",
        identifiers={
            "External_Id__c": Identifier(),
            "Id": Identifier(longest=18, shape=re.compile(r"\w{15}(\w{3})?"), shape_name="15 or 18 characters"),
        },
        column=_salesforce,
        scored_at="Scored_At__c",
        blank="#N/A",
        blank_number="#N/A",
        most_bytes=100 * 10**6,
        ways={"Data Import Wizard": (None, 50_000)},
    ),
    "hubspot": Preset(
        key="hubspot",
        name="HubSpot",
        identifiers={
            "Email": Identifier(longest=254, shape=EMAIL, shape_name="an e-mail address"),
            "Record ID": Identifier(longest=19, shape=DIGITS, shape_name="digits"),
        },
        blank_number="",  # a blank cell is ignored, and a property of numbers takes no text
        most_rows=1_048_575,  # and the header
        ways={"free tools": (20, None)},
    ),
    "braze": Preset(
        key="braze",
        name="Braze",
        identifiers={
            "external_id": Identifier(longest=997),
            "braze_id": Identifier(
                longest=24, shape=re.compile(r"[0-9a-f]{24}"), shape_name="24 hexadecimal characters"
            ),
            "user_alias_name": Identifier(),
        },
        true="TRUE",
        false="FALSE",
        most_bytes=500 * 10**6,
        no_commas=True,
    ),
    "klaviyo": Preset(
        key="klaviyo",
        name="Klaviyo",
        identifiers={
            "external_id": Identifier(),
            "email": Identifier(longest=254, shape=EMAIL, shape_name="an e-mail address"),
            "phone_number": Identifier(longest=16, shape=PHONE, shape_name="a number such as +4915112345678"),
        },
        most_bytes=50 * 10**6,
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name. Raises `ConfigError` if there is none."""
    if name not in PRESETS:
        raise ConfigError(f"preset must be csv, {', '.join(PRESETS)}; found {name!r}")
    return PRESETS[name]


# ---- the linter ------------------------------------------------------------------------------------------------------


def identifier_rules(kind: Identifier, values: np.ndarray) -> np.ndarray:
    """(N,) the rule that rejects each identifier (N,), "" for those that the system takes.

    Missing, doubled, too long, of a wrong shape, or with control characters. Of a doubled identifier every row is
    rejected, because nobody can say which one is meant.
    """
    rules = np.array([_identifier_rule(kind, str(value)) for value in values], dtype=object)
    # Addresses that differ in capitals only are the same contact.
    same = pd.Series(values, dtype="str").str.lower() if kind.shape is EMAIL else pd.Series(values, dtype="str")
    doubled = same.duplicated(keep=False).to_numpy() & (rules == "")
    if doubled.any():
        counts = same[doubled].map(same[doubled].value_counts())
        rules[doubled] = [f"identifier occurs {n} times" for n in counts]
    return rules


def _identifier_rule(kind: Identifier, text: str) -> str:
    if not text.strip():
        return "identifier is missing"
    if CONTROL.search(text):
        return "control character"
    if text != text.strip():
        return "blank before or after the identifier"
    if len(text) > kind.longest:
        return f"longer than {kind.longest} characters"
    if kind.shape is not None and not kind.shape.fullmatch(text):
        return f"expected {kind.shape_name}"
    return ""


def label_rules(made_for: Preset, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """By column with names of actions: (n,) the rule that rejects each text, "" where the system takes it."""
    columns = [made_for.column(name) for name in TEXTS]
    rules = {label: lint_label(made_for, label) for column in columns for label in table[column].unique()}
    return {column: table[column].map(rules).to_numpy(dtype=object) for column in columns}


def lint_label(made_for: Preset, label: str) -> str:
    """Why a text cannot be sent to a system; "" if it can."""
    if CONTROL.search(label):
        return "control character"
    if made_for.no_commas and "," in label:
        return "comma in a text"
    if len(label) > 255:
        return "longer than 255 characters"
    return ""
