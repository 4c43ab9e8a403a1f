"""Upload of cohorts: the user's own files or those of a public data set; preview, column mapping, check, save."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.checks import Finding
from crm_models.data.sources import FORMS, importer_of
from crm_models.data.storage import save_cohort
from dashboard.charts import digits
from dashboard.panels import widgets
from dashboard.state import session, store, upload_store, uploads, workspace
from dashboard.state.uploads import Mapped

KINDS = {
    "interactions": "Interactions: one row per event",
    "customers": "Customers: one row per customer",
    "actions": "Actions: one row per possible action",
    "": "Leave this file out",
}
MEANINGS = {
    CUSTOMER_ID: ("Customer", "Customer id, the same in all files."),
    ACTION: ("Action", "The action: a product, an offer, a channel."),
    TIMESTAMP: ("Time", "Time of the event: a date in any common format, or a number."),
    VALUE: ("Value", "A rating or an amount (optional)."),
    CHURNED: ("Churned", "Churn label: yes/no, 1/0, true/false."),
    LABEL: ("Label", "Display name of the action."),
    KIND: ("Kind", "engagement or retention"),
    REPEATABLE: ("Repeatable", "Whether the action may be proposed again to the same customer."),
}
NO_COLUMN = {ACTION: "(all rows are the same action)", CUSTOMER_ID: "(the row number)"}


# ---- own files -------------------------------------------------------------------------------------------------------


def bring_your_own() -> None:
    """Draw the upload of the user's own files: preview, column mapping, check, save."""
    st.caption(
        "Interactions (customer, action, time), customers (churned, features), or both, as CSV, Parquet or Excel. "
        "Without interactions, only the churn model can be trained; without churn labels, only the sequence model."
    )
    files = st.file_uploader(
        "Files",
        type=list(uploads.TYPES),
        accept_multiple_files=True,
        key="own_files",
        max_upload_size=uploads.MAX_MB,
        help=f"Up to {uploads.MAX_MB} MB per file and {uploads.MAX_ROWS:,} rows in total.",
    )
    mapped = [table for k, file in enumerate(files or []) if (table := _one_file(k, file)) is not None]
    for table in mapped:
        if missing := uploads.missing(table):
            labels = ", ".join(MEANINGS[ours][0] for ours in missing)
            st.warning(f"{widgets.plain(table.file)}: choose the column for {labels}.", icon=":material/warning:")
    if mapped and not any(uploads.missing(table) for table in mapped):
        _save(mapped)


def _one_file(k: int, file: Any) -> Mapped | None:
    """Draw preview, kind and columns of an uploaded file; None if it is unreadable or left out."""
    with st.container(border=True):
        try:
            table = upload_store.uploaded_table(file.file_id, file.name, file)
        except (CrmError, MemoryError) as error:
            widgets.error_box(
                error if str(error) else "too large for the memory of this machine", "This file cannot be read:"
            )
            return None
        st.markdown(f"**{widgets.plain(file.name)}**: {len(table):,} rows, {table.shape[1]} columns")
        st.dataframe(table.head(5), hide_index=True, alt=f"First rows of {file.name}", height=212)
        guessed = uploads.guess_kind(file.name, table)
        kind = st.selectbox(
            "This file holds",
            list(KINDS),
            index=list(KINDS).index(guessed),
            format_func=KINDS.__getitem__,
            key=f"kind_{k}",
        )
        if not kind:
            return None
        mapped = replace(_columns(k, file.name, table, kind), upload=file.file_id)
        return _label_and_dropped(k, mapped) if kind == "customers" else mapped


def _column_name(if_none: str, column: str | None) -> str:
    return if_none if column is None else column


def _columns(k: int, name: str, table: pd.DataFrame, kind: str) -> Mapped:
    """Draw the select boxes for the columns, with guesses filled in."""
    guessed = uploads.guesses(table, kind)
    columns: dict[str, str] = {}
    with st.grid(4, min_column_width=150):
        for ours in uploads.COLUMNS[kind]:
            label, meaning = MEANINGS[ours]
            options = [None, *(str(c) for c in table.columns)]
            column = st.selectbox(
                label,
                options,
                index=options.index(guessed.get(ours)),
                format_func=partial(_column_name, NO_COLUMN.get(ours, "(none)")),
                key=f"column_{k}_{kind}_{ours}",
                help=meaning,
            )
            if column is not None:
                columns[ours] = column
    duplicates = [c for c in set(columns.values()) if list(columns.values()).count(c) > 1]
    if duplicates:
        st.warning(f"The column {widgets.plain(duplicates[0])} is chosen twice.", icon=":material/warning:")
    return Mapped(upload=name, file=name, table=table, kind=kind, columns=columns)


def _label_and_dropped(k: int, mapped: Mapped) -> Mapped:
    """Draw, for a table of customers, which label means churned and which columns to leave out."""
    left, right = st.columns(2)
    positive = None
    if CHURNED in mapped.columns:
        values = mapped.table[mapped.columns[CHURNED]].dropna().astype(str).unique()
        if len(values) <= 12:
            positive = left.selectbox(
                "The value that means churned",
                [None, *sorted(values)],
                format_func=lambda value: "(yes, 1 or true)" if value is None else value,
                key=f"positive_{k}",
            )
    others = [str(c) for c in mapped.table.columns if c not in mapped.columns.values()]
    drop = right.multiselect(
        "Columns to leave out",
        others,
        key=f"drop_{k}",
        help="Names, addresses, and especially columns that are only known after a customer has churned.",
    )
    return replace(mapped, positive=positive, drop=tuple(drop))


def _save(tables: list[Mapped]) -> None:
    """Draw name, churn by inactivity, result of the data check, and the button that saves the cohort."""
    has_label = any(CHURNED in t.columns for t in tables)
    has_events = any(t.kind == "interactions" for t in tables)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the cohort", value="my-customers", key="own_name", max_chars=48, width=220)
        days = None
        if has_events and not has_label and st.checkbox("Label inactive customers as churned", key="own_inactive"):
            days = st.number_input("Days without activity", 1.0, 3650.0, 90.0, 1.0, key="own_days", width=180)
    try:
        with st.spinner("Combining and checking the tables"):
            cohort, problems = upload_store.checked_cohort(tables, name, days)
    except CrmError as error:
        widgets.error_box(error, "These files do not make a cohort yet:")
        return
    except MemoryError:
        widgets.error_box("too large for the memory of this machine", "These files do not make a cohort yet:")
        return
    rate = digits.share(float(cohort.customers[CHURNED].mean())) if cohort.has_labels else "unknown"
    st.success(
        f"{cohort.n_customers:,} customers, {len(cohort.interactions):,} interactions, "
        f"{len(cohort.actions):,} actions, churn rate {rate}",
        icon=":material/check_circle:",
    )
    findings(problems)
    if st.button("Use these customers", type="primary", icon=":material/check:", key="own_keep"):
        with widgets.guarded("The cohort could not be saved:"):
            new_name = workspace.new_name(name or "my-customers", workspace.cohorts_folder())
            save_cohort(cohort, workspace.cohorts_folder() / new_name)
            take(new_name)


# ---- known formats ---------------------------------------------------------------------------------------------------


def known_format() -> None:
    """Draw the upload of a known public data set."""
    form = st.selectbox(
        "Format",
        [form for form in FORMS if form != "tables"],
        format_func=lambda form: importer_of(form).title,
        key="known_form",
        persist_state="session",
        width=260,
    )
    importer = importer_of(form)
    st.caption(f"Upload {importer.files}.")
    files = st.file_uploader(
        "Files of the data set", accept_multiple_files=True, key=f"known_files_{form}", max_upload_size=uploads.MAX_MB
    )
    days = None
    if "churn_days" in importer.options:
        days = st.number_input(
            "Label customers as churned after this many days without activity",
            min_value=1.0,
            max_value=3650.0,
            value=importer.options["churn_days"],
            placeholder="no churn labels",
            key=f"known_days_{form}",
            width=420,
        )
    if st.button("Read these files", type="primary", icon=":material/upload_file:", disabled=not files):
        with (
            widgets.guarded("These files could not be read:"),
            st.spinner("Reading and sorting; large files take a minute"),
        ):
            new_name = workspace.new_name(form, workspace.cohorts_folder())
            sources = [(file.name, file.getvalue()) for file in files]
            uploads.import_known(workspace.cohorts_folder() / new_name, form, sources, days)
            take(new_name)


# ---- both ------------------------------------------------------------------------------------------------------------


def take(name: str) -> None:
    """Select a new cohort and rerun the page."""
    facts = store.cohort_card(name).facts
    session.say(f"{widgets.plain(name)}: {facts.customers:,} customers, {facts.interactions:,} interactions")
    session.choose_next(name)
    st.rerun()


LEVELS = {
    "problem": (":red-badge[problem]", "invalidates results"),
    "warning": (":orange-badge[warning]", "may weaken results"),
    "note": (":gray-badge[note]", "for information"),
}


def findings(found: list[Finding]) -> None:
    """Draw the findings of the data check, problems first, each with advice."""
    if not found:
        st.markdown(":material/check: The data check found no problems.")
        return
    with st.container(border=True):
        counts = {level: sum(f.level == level for f in found) for level in LEVELS}
        summary = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n)
        st.markdown(f"**Data check**: {summary}")
        for finding in found:
            badge, _ = LEVELS[finding.level]
            advice = f" :material/arrow_forward: {widgets.plain(finding.advice)}" if finding.advice else ""
            st.markdown(f"{badge} **{widgets.plain(finding.title)}**: {widgets.plain(finding.detail)}{advice}")
