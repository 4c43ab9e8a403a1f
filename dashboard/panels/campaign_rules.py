"""Rules of a campaign: the funnel, a form that reads each rule back as a sentence, and why not for one customer."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd
import streamlit as st

from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.ledger import is_fixed
from crm_models.campaigns.rules import COMPUTED, KINDS, OPS, Condition, Kind, Rule, read_rules, rules_csv
from crm_models.core.errors import CrmError
from dashboard.charts import campaigns as charts
from dashboard.panels import widgets
from dashboard.state import access, campaign_store, session

NEW = "(a new rule)"
ABOUT_KINDS = {
    "block": "Never propose these actions.",
    "eligible": "Propose these actions only to customers who meet the conditions.",
    "suppress": "Do not propose these actions to customers who meet the conditions, or too soon after others.",
    "quiet": "Do not propose these actions on certain days.",
    "cap": "Do not propose these actions after so many contacts.",
}
CONDITIONS = 3
"""Most conditions in the form; rules.csv takes any number."""

NOTE = """
**Dropped first**: pairs of customer and action that this rule was the first to drop, in the fixed order block,
eligible, suppress, quiet, cap. **Would come back**: pairs that no other rule drops, so they return if you remove this
rule. A rule with a long grey and no green bar does nothing that other rules do not do as well.
"""


def draw(chosen: Campaign) -> None:
    """Draw the funnel, the list of rules, the form, files, and why not."""
    fixed = is_fixed(chosen)
    if fixed:
        st.info(
            "This campaign was sent or read, so its rules stay as they are. Make a new campaign to try others.",
            icon=":material/lock:",
        )
    drops = pd.DataFrame(chosen.about["funnel"]["drops"])
    if chosen.rules and not drops.empty:
        by_rule = drops.groupby(["rule", "kind"], sort=False)[["dropped_first", "would_come_back"]].sum().reset_index()
        widgets.chart(
            charts.funnel(by_rule),
            key="funnel",
            alt="Actions dropped by each rule, and how many would come back without it",
            table=drops,
            note=NOTE,
        )
    for warning in chosen.about["funnel"]["warnings"]:
        st.warning(widgets.plain(warning), icon=":material/warning:")
    if not chosen.rules:
        st.markdown("This campaign has no rules yet: everybody at risk may get every retention action.")
    hidden = access.personal()
    for rule in chosen.rules:
        st.markdown(f"**{widgets.plain(rule.name)}** ({rule.kind}): {widgets.plain(rule.sentence(hidden))}")
    if not fixed and access.may("campaign.change"):
        _edit(chosen)
    _files(chosen, fixed)
    _why_not(chosen)


def _edit(chosen: Campaign) -> None:
    with st.expander("Add or change a rule", icon=":material/edit:", expanded=not chosen.rules):
        names = [rule.name for rule in chosen.rules]
        name = st.selectbox("Rule", [NEW, *names], key="rule_chosen")
        before = next((rule for rule in chosen.rules if rule.name == name), None)
        # Keys hold the rule's name, so that choosing another rule shows its values.
        try:
            rule = _form(chosen, before, f"rule_{chosen.name}_{name}")
        except CrmError as error:
            blank = not st.session_state.get(f"rule_{chosen.name}_{name}_name")
            st.caption(f":material/info: {'Give the rule a name.' if blank else widgets.plain(error)}")
            rule = None
        if rule is not None:
            st.markdown(f":material/record_voice_over: {widgets.plain(rule.sentence())}")
        with st.container(horizontal=True):
            if st.button("Save rule", type="primary", disabled=rule is None, key="save_rule") and rule is not None:
                rules = tuple(rule if r is before else r for r in chosen.rules) + (() if before else (rule,))
                _apply(chosen, rules, f"Rule {rule.name} saved.")
            if before is not None and st.button("Delete rule", key="delete_rule"):
                _apply(chosen, tuple(r for r in chosen.rules if r is not before), f"Rule {before.name} deleted.")


def _apply(chosen: Campaign, rules: tuple[Rule, ...], message: str) -> None:
    with widgets.guarded("The rules cannot be applied:"), st.spinner("Applying the rules to all customers"):
        campaign_store.change(chosen, rules=rules)
        session.say(message)
        st.rerun()


def _form(chosen: Campaign, before: Rule | None, key: str) -> Rule:
    """Draw the fields of a rule and return it. Raises `DataError` while it is not complete."""
    left, right = st.columns(2)
    name = left.text_input("Name", before.name if before else "", key=f"{key}_name", max_chars=60)
    kind = right.selectbox(
        "Kind",
        KINDS,
        index=KINDS.index(before.kind) if before else KINDS.index("suppress"),
        key=f"{key}_kind",
        help=" ".join(f"**{k}**: {text}" for k, text in ABOUT_KINDS.items()),
    )
    patterns = _patterns(chosen)
    actions = st.multiselect(
        "Actions",
        list(dict.fromkeys([*patterns, *(before.actions if before else ())])),
        default=list(before.actions) if before else ["kind:retention"],
        key=f"{key}_actions",
    )
    about: dict[str, Any] = {"name": name, "kind": cast(Kind, kind), "actions": tuple(actions)}
    about["where"] = _conditions(chosen, before, key)
    if kind in ("cap", "suppress"):
        about |= _counts(patterns, before, str(kind), key)
    if kind == "quiet":
        left, right = st.columns(2)
        about["first"] = left.date_input("From", before.first if before else "today", key=f"{key}_first")
        about["last"] = right.date_input("To", before.last if before else "today", key=f"{key}_last")
    return Rule(**about)


def _conditions(chosen: Campaign, before: Rule | None, key: str) -> tuple[Condition, ...]:
    columns = [*campaign_store.profile_columns(chosen), *COMPUTED, "count(*, 30)", "days_since(*)"]
    given = before.where if before else ()
    conditions: list[Condition] = []
    for k in range(max(CONDITIONS, len(given))):
        old = given[k] if k < len(given) else None
        if k > len(conditions):
            break  # one blank line at a time
        column_place, op_place, value_place = st.columns([3, 2, 3], vertical_alignment="bottom")
        known = list(dict.fromkeys([*columns, *([old.column] if old else [])]))
        column = column_place.selectbox(
            "Where" if k == 0 else "and",
            known,
            index=known.index(old.column) if old else None,
            placeholder="any customer" if k == 0 else "no further condition",
            key=f"{key}_column_{k}",
            accept_new_options=True,
            help="A profile column, or a figure such as count(Call the customer, 30) or days_since(*)."
            if k == 0
            else None,
        )
        if column is None:
            continue
        op = op_place.selectbox("is", OPS, index=OPS.index(old.op) if old else 0, key=f"{key}_op_{k}")
        value = value_place.text_input(
            "Value",
            old.text if old else "",
            key=f"{key}_value_{k}",
            disabled=op == "missing",
            placeholder="a;b for several",
        )
        conditions.append(Condition.of(str(column), str(op), value))
    return tuple(conditions)


def _counts(patterns: list[str], before: Rule | None, kind: str, key: str) -> dict[str, Any]:
    places = st.columns([2, 3, 2, 2], vertical_alignment="bottom")
    most = places[0].number_input(
        "After", 1, 1000, before.most if before else (3 if kind == "cap" else None), key=f"{key}_{kind}_most",
        placeholder="–",
    )  # fmt: skip
    counts = places[1].multiselect(
        "events of",
        list(dict.fromkeys(["*", *patterns, *(before.counts if before else ())])),
        default=list(before.counts) if before else ["*"],
        key=f"{key}_{kind}_counts",
    )
    days = places[2].number_input(
        "within days", 1, 3650, int(before.days) if before and before.days else (30 if most else None),
        key=f"{key}_{kind}_days", placeholder="–",
    )  # fmt: skip
    about: dict[str, Any] = {
        "most": most,
        "counts": tuple(counts),
        "days": float(days) if most is not None and days is not None else None,
    }
    if kind == "suppress":
        pause = places[3].number_input(
            "pause, days", 1, 3650, int(before.pause_days) if before and before.pause_days else None,
            key=f"{key}_{kind}_pause", placeholder="–",
        )  # fmt: skip
        about["pause_days"] = float(pause) if pause is not None else None
    return about


def _patterns(chosen: Campaign) -> list[str]:
    channels = sorted({channel for channel in chosen.actions.channels if channel})
    groups = ["*", "kind:retention", "kind:engagement", *(f"channel:{channel}" for channel in channels)]
    return groups + list(dict.fromkeys(chosen.actions.labels))


def _files(chosen: Campaign, fixed: bool) -> None:
    with st.expander("Rules as a file", icon=":material/table:"):
        st.caption("One row per condition; rows with the same name are one rule. Lists are separated by semicolons.")
        st.download_button(
            "Download rules.csv",
            data=access.exported(
                f"campaigns/{chosen.name}", lambda: rules_csv(chosen.rules).encode(), "campaign.export"
            ),
            disabled=not access.may("campaign.export"),
            file_name="rules.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="download_rules",
        )
        if fixed or not access.may("campaign.change"):
            return
        file = st.file_uploader("Replace all rules by a file", type="csv", key="rules_file", max_upload_size=2)
        if file is not None and st.button("Use this file", key="use_rules"):
            with widgets.guarded("This file cannot be used:"):
                with campaign_store.uploaded(file) as place:
                    rules = read_rules(place)
                _apply(chosen, rules, f"{len(rules)} rules read.")


def _why_not(chosen: Campaign) -> None:
    st.subheader("Why not?", anchor=False)
    customer = st.text_input(
        "Customer id", key="why_not", placeholder="C000001", persist_state="session", width=320
    ).strip()
    if not customer:
        st.caption("Enter a customer to see every action with the first rule that dropped it.")
        return
    table = chosen.why_not(customer)
    st.dataframe(
        table.assign(dropped_by=table["dropped_by"].replace("", "– allowed")).rename(
            columns={"dropped_by": "dropped by"}
        ),
        hide_index=True,
        alt="Every action with the rule that dropped it",
    )
