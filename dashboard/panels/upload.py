"""Bring your own files, or those of a known public data set: upload, preview, map columns, check, keep."""

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
    CUSTOMER_ID: ("Customer", "Who it is: the same id in all files."),
    ACTION: ("Action", "What happened: a product, an offer, a channel."),
    TIMESTAMP: ("Time", "When: dates in any usual form, or numbers."),
    VALUE: ("Value", "A rating or an amount, if there is one."),
    CHURNED: ("Churned", "Who left: yes/no, 1/0, true/false."),
    LABEL: ("Label", "How the action is shown."),
    KIND: ("Kind", "engagement or retention."),
    REPEATABLE: ("Repeatable", "Whether it may be proposed again to somebody who had it."),
}
NOTHING = {ACTION: "(all rows are one action)", CUSTOMER_ID: "(the row number)"}


# ---- own files -------------------------------------------------------------------------------------------------------


def bring_your_own() -> None:
    """Upload, preview, map, check, keep."""
    st.caption(
        "Interactions (customer, action, time), customers (churned, features), or both, as CSV, Parquet or Excel. "
        "Without interactions only the churn model can be trained, without churn labels only the sequence model."
    )
    files = st.file_uploader(
        "Files",
        type=list(uploads.TYPES),
        accept_multiple_files=True,
        key="own_files",
        max_upload_size=uploads.MAX_MB,
        help=f"Up to {uploads.MAX_MB} MB each and {uploads.MAX_ROWS:,} rows in all.",
    )
    mapped = [found for k, file in enumerate(files or []) if (found := _one_file(k, file)) is not None]
    for table in mapped:
        if gaps := uploads.missing(table):
            said = ", ".join(MEANINGS[ours][0] for ours in gaps)
            st.warning(f"{widgets.plain(table.file)}: choose the column for {said}.", icon=":material/warning:")
    if mapped and not any(uploads.missing(table) for table in mapped):
        _keep(mapped)


def _one_file(k: int, file: Any) -> Mapped | None:
    """One uploaded file: preview, kind and columns; None where it is no table, or left out."""
    with st.container(border=True):
        try:
            table = upload_store.uploaded_table(file.file_id, file.name, file)
        except (CrmError, MemoryError) as error:
            widgets.error_box(error if str(error) else "too large for the memory of this machine", "Cannot be read:")
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
        found = replace(_columns(k, file.name, table, kind), upload=file.file_id)
        return _label(k, found) if kind == "customers" else found


def _said(nothing: str, column: str | None) -> str:
    return nothing if column is None else column


def _columns(k: int, name: str, table: pd.DataFrame, kind: str) -> Mapped:
    """The select boxes that say which column is what, guesses filled in."""
    guessed = uploads.guesses(table, kind)
    columns: dict[str, str] = {}
    with st.grid(4, min_column_width=150):
        for ours in uploads.COLUMNS[kind]:
            label, meaning = MEANINGS[ours]
            options = [None, *(str(c) for c in table.columns)]
            chosen = st.selectbox(
                label,
                options,
                index=options.index(guessed.get(ours)),
                format_func=partial(_said, NOTHING.get(ours, "(none)")),
                key=f"column_{k}_{kind}_{ours}",
                help=meaning,
            )
            if chosen is not None:
                columns[ours] = chosen
    doubled = [c for c in set(columns.values()) if list(columns.values()).count(c) > 1]
    if doubled:
        st.warning(f"The column {widgets.plain(doubled[0])} is chosen twice.", icon=":material/warning:")
    return Mapped(upload=name, file=name, table=table, kind=kind, columns=columns)


def _label(k: int, found: Mapped) -> Mapped:
    """For a table of customers: what the label's words mean, and which columns are no features."""
    left, right = st.columns(2)
    positive = None
    if CHURNED in found.columns:
        words = found.table[found.columns[CHURNED]].dropna().astype(str).unique()
        if len(words) <= 12:
            positive = left.selectbox(
                "The value that means churned",
                [None, *sorted(words)],
                format_func=lambda w: "(yes, 1 or true)" if w is None else w,
                key=f"positive_{k}",
            )
    others = [str(c) for c in found.table.columns if c not in found.columns.values()]
    drop = right.multiselect(
        "Columns to leave out",
        others,
        key=f"drop_{k}",
        help="Names, addresses, and above all columns that are only known after a customer left.",
    )
    return replace(found, positive=positive, drop=tuple(drop))


def _keep(tables: list[Mapped]) -> None:
    """Churn by inactivity, name, what the check says, and the button that keeps the cohort."""
    has_label = any(CHURNED in t.columns for t in tables)
    has_events = any(t.kind == "interactions" for t in tables)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the cohort", value="my-customers", key="own_name", max_chars=48, width=220)
        days = None
        if has_events and not has_label and st.checkbox("Call silent customers churned", key="own_inactive"):
            days = st.number_input("Days without activity", 1.0, 3650.0, 90.0, 1.0, key="own_days", width=180)
    try:
        with st.spinner("Putting the tables together and checking them"):
            cohort, found = upload_store.checked_cohort(tables, name, days)
    except CrmError as error:
        widgets.error_box(error, "Not yet a cohort:")
        return
    except MemoryError:
        widgets.error_box("too large for the memory of this machine", "Not yet a cohort:")
        return
    rate = widgets.share(float(cohort.customers[CHURNED].mean())) if cohort.has_labels else "unknown"
    st.success(
        f"{cohort.n_customers:,} customers, {len(cohort.interactions):,} interactions, "
        f"{len(cohort.actions):,} actions, churn rate {rate}",
        icon=":material/check_circle:",
    )
    findings(found)
    if st.button("Use these customers", type="primary", icon=":material/check:", key="own_keep"):
        with widgets.guarded("The cohort could not be kept:"):
            made = workspace.new_name(name or "my-customers", workspace.cohorts_folder())
            save_cohort(cohort, workspace.cohorts_folder() / made)
            take(made)


# ---- known formats ---------------------------------------------------------------------------------------------------


def known_format() -> None:
    """Files of a known public data set."""
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
            "Call a customer churned after so many days of silence",
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
            st.spinner("Reading and sorting; a minute for large files"),
        ):
            made = workspace.new_name(form, workspace.cohorts_folder())
            sources = [(file.name, file.getvalue()) for file in files]
            uploads.import_known(workspace.cohorts_folder() / made, form, sources, days)
            take(made)


# ---- both ------------------------------------------------------------------------------------------------------------


def take(name: str) -> None:
    """Make a new cohort the current one, and draw the page anew."""
    facts = store.cohort_card(name).facts
    session.say(f"{widgets.plain(name)}: {facts.customers:,} customers, {facts.interactions:,} interactions")
    session.choose_next(name)
    st.rerun()


LEVELS = {
    "problem": (":red-badge[problem]", "spoils results"),
    "warning": (":orange-badge[warning]", "weakens results"),
    "note": (":gray-badge[note]", "good to know"),
}


def findings(found: list[Finding]) -> None:
    """What the data check found, problems first, each with what to do."""
    if not found:
        st.markdown(":material/check: The data check found nothing that will hurt.")
        return
    with st.container(border=True):
        counts = {level: sum(f.level == level for f in found) for level in LEVELS}
        said = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n)
        st.markdown(f"**Data check**: {said}")
        for finding in found:
            badge, _ = LEVELS[finding.level]
            advice = f" :material/arrow_forward: {widgets.plain(finding.advice)}" if finding.advice else ""
            st.markdown(f"{badge} **{widgets.plain(finding.title)}**: {widgets.plain(finding.detail)}{advice}")
