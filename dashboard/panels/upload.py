"""Upload of cohorts: the user's own files, in steps, or those of a public data set."""

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
from crm_models.data.sources.frames import ENCODING
from crm_models.data.sources.receipt import DoubtError, counted
from crm_models.data.sources.text_encoding import OTHER_ENCODINGS
from crm_models.data.storage import save_cohort
from dashboard.charts import digits
from dashboard.panels import receipt as receipt_panel
from dashboard.panels import widgets
from dashboard.panels.app_words import in_app_words
from dashboard.state import access, session, store, upload_store, uploads, workspace
from dashboard.state.uploads import Mapped, Reading

KINDS = {
    "interactions": "Interactions: one row per event",
    "customers": "Customers: one row per customer",
    "actions": "Actions: one row per possible action",
    "": "Leave it out",
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
NAME = "my-customers"
SKIP_BAD_ROWS, LEAVE_OUT, JUST_KEPT, KEPT_FILES = "own_skip_bad_rows", "own_leave_out", "own_just_kept", "own_kept"
"""Session keys: the switch for bad rows, columns that a button leaves out, the cohort kept last, and its uploads."""
ANNOUNCED = "own_announced"
"""Session key: the cohort kept last, once a dialog has said so."""
NO_COLUMN = {ACTION: "(all rows are the same action)", CUSTOMER_ID: "(asked below)"}


# ---- own files -------------------------------------------------------------------------------------------------------


def bring_your_own() -> bool:
    """Draw the import of the user's own files in four steps; returns whether files are there, so the page is theirs."""
    step(1, "Files")
    limits = access.quotas()
    st.caption(
        "Interactions (customer, action, time), customers (churned, features), or both, as CSV, Parquet or Excel."
        + (f" At most {limits.upload_mb:,} MB at a time." if limits is not None else "")
    )
    files = st.file_uploader(
        "Files",
        type=list(uploads.TYPES),
        accept_multiple_files=True,
        key="own_files",
        max_upload_size=uploads.MAX_MB,
        help=f"Up to {uploads.MAX_MB} MB per file and {uploads.MAX_ROWS:,} rows in total.",
    )
    if not files or _ids(files) == st.session_state.get(KEPT_FILES):
        return False
    with widgets.guarded("These files cannot be read:"):
        access.need_quota("upload_mb", sum(file.size for file in files) / 1e6, "MB of uploads at a time")
    st.toggle(
        "Leave out rows that cannot be read",
        key=SKIP_BAD_ROWS,
        help="Without this, a file with such a row is refused. The rows left out are counted and listed.",
    )
    step(2, "Meaning")
    mapped = [table for k, file in enumerate(files) for table in _one_file(k, file)]
    for table in mapped:
        if missing := uploads.missing(table):
            labels = ", ".join(MEANINGS[ours][0] for ours in missing)
            st.warning(f"{widgets.plain(table.file)}: choose the column for {labels}.", icon=":material/warning:")
    if mapped and not any(uploads.missing(table) for table in mapped):
        _receipt_and_keep(mapped, _ids(files))
    return True


def _ids(files: list[Any]) -> list[str]:
    return [file.file_id for file in files]


def step(number: int, name: str) -> None:
    """Draw the heading of a step."""
    st.subheader(f"{number}. {name}", anchor=False)


def _one_file(k: int, file: Any) -> list[Mapped]:
    """Draw preview, kind and columns of each table of an uploaded file; those that are left out are not returned."""
    skip_bad_rows = bool(st.session_state.get(SKIP_BAD_ROWS))
    encoding = st.session_state.get(f"encoding_{k}")
    try:
        tables = upload_store.uploaded_tables(file.file_id, file.name, file, encoding, skip_bad_rows)
    except (CrmError, MemoryError) as error:
        with st.container(border=True):
            widgets.error_box(
                in_app_words(str(error)) or "too large for the memory of this machine", "This file cannot be read:"
            )
            _encoding(k, encoding)
        return []
    mapped = []
    for sheet, (table, name) in enumerate(tables):
        with st.container(border=True):
            one = _one_table(f"{k}_{sheet}" if sheet else str(k), name, table)
            if encoding or table.attrs.get(ENCODING, "utf-8") != "utf-8":
                _encoding(k, encoding)
        mapped += [] if one is None else [replace(one, upload=f"{file.file_id}-{sheet}")]
    return mapped


def _one_table(k: str, name: str, table: pd.DataFrame) -> Mapped | None:
    """Draw preview, kind and columns of a table; None if it is left out."""
    st.markdown(f"**{widgets.plain(name)}**: {counted(len(table), 'row')}, {counted(table.shape[1], 'column')}")
    st.dataframe(table.head(5), hide_index=True, alt=f"First rows of {name}")
    guessed = uploads.guess_kind(name, table, is_main="_" not in k)
    kind = st.selectbox(
        "This file holds" if ", sheet " not in name else "This sheet holds",
        list(KINDS),
        index=list(KINDS).index(guessed),
        format_func=KINDS.__getitem__,
        key=f"kind_{k}",
    )
    if not kind:
        return None
    mapped = _columns(k, name, table, kind)
    return _label_and_dropped(k, mapped) if kind == "customers" else mapped


def _encoding(k: int, encoding: str | None) -> None:
    """Draw the choice of the encoding, for a file that is not plain UTF-8."""
    st.selectbox(
        "Encoding",
        [None, "utf-8", *OTHER_ENCODINGS],
        format_func=lambda name: "(found by itself)" if name is None else name,
        key=f"encoding_{k}",
        help="Choose another one if names above have wrong letters.",
        width=260,
    )


def _column_name(if_none: str, column: str | None) -> str:
    return if_none if column is None else column


def _columns(k: str, name: str, table: pd.DataFrame, kind: str) -> Mapped:
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


def _label_and_dropped(k: str, mapped: Mapped) -> Mapped:
    """Draw, for a table of customers, which label means churned and which columns to leave out."""
    boxes = st.columns(2) if CHURNED in mapped.columns else [st.container()]
    positive = None
    if CHURNED in mapped.columns:
        values = mapped.table[mapped.columns[CHURNED]].dropna().astype(str).unique()
        if len(values) <= 12:
            positive = boxes[0].selectbox(
                "The value that means churned",
                [None, *sorted(values)],
                format_func=lambda value: "(yes, 1 or true)" if value is None else value,
                key=f"positive_{k}",
            )
    others = [str(c) for c in mapped.table.columns if c not in mapped.columns.values()]
    chosen = [c for c in st.session_state.get(f"drop_{k}", []) if c in others]
    leaks = [c for c in st.session_state.get(LEAVE_OUT, []) if c in others]
    if leaks:
        del st.session_state[LEAVE_OUT]
        st.session_state[f"drop_{k}"] = [*chosen, *(c for c in leaks if c not in chosen)]
    drop = boxes[-1].multiselect(
        "Columns to leave out",
        others,
        key=f"drop_{k}",
        help="Names, addresses, and especially columns that are only known after a customer has churned.",
    )
    return replace(mapped, positive=positive, drop=tuple(drop))


def _receipt_and_keep(tables: list[Mapped], files: list[str]) -> None:
    """Draw the receipt with its doubts and the data check, then the button that keeps the cohort."""
    has_label = any(CHURNED in t.columns for t in tables)
    has_events = any(t.kind == "interactions" for t in tables)
    step(3, "Receipt")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        days, made_on = None, None
        if has_events and not has_label and st.checkbox("Label inactive customers as churned", key="own_inactive"):
            days = st.number_input("Days without activity", 1.0, 3650.0, 90.0, 1.0, key="own_days", width=180)
        if has_events:
            made_on = st.date_input(
                "Export made on",
                value=None,
                key="own_made_on",
                help="Later events are left out, and days without activity count back from here. Leave it empty to use "
                "the last event.",
                width=180,
            )
    reading = Reading(
        answers=receipt_panel.answers(),
        skip_bad_rows=bool(st.session_state.get(SKIP_BAD_ROWS)),
        as_of=str(made_on) if made_on else None,
    )
    try:
        with st.spinner("Combining and checking the tables"):
            built = upload_store.built_cohort(tables, NAME, days, reading)
    except DoubtError as error:
        widgets.error_box(in_app_words(error.refusal), "These files do not make a cohort yet:")
        receipt_panel.doubts(error.doubts)
        return
    except CrmError as error:
        widgets.error_box(in_app_words(str(error)), "These files do not make a cohort yet:")
        return
    except MemoryError:
        widgets.error_box("too large for the memory of this machine", "These files do not make a cohort yet:")
        return
    receipt_panel.draw(built.receipt)
    receipt_panel.rejected(built.receipt)
    _leaks_to_leave_out(findings(built.findings))
    step(4, "Keep")
    _keep(built, files)


def _leaks_to_leave_out(columns: list[str]) -> None:
    """Draw a button for each column that gives the label away: it is added to the columns to leave out."""
    with st.container(horizontal=True):
        for column in columns:
            if st.button(f"Leave out {widgets.plain(column)}", icon=":material/block:", key=f"leave_out_{column}"):
                st.session_state[LEAVE_OUT] = [column]
                st.rerun()


def _keep(built: upload_store.Built, files: list[str]) -> None:
    """Draw what will be kept, its name, and the button; it waits until every doubt is settled."""
    cohort = built.cohort
    rate = digits.share(float(cohort.customers[CHURNED].mean())) if cohort.has_labels else "unknown"
    st.markdown(
        f"{cohort.n_customers:,} customers, {len(cohort.interactions):,} interactions, "
        f"{len(cohort.actions):,} actions, churn rate {rate}"
    )
    waiting = sum(doubt.is_open for doubt in built.receipt.doubts)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the cohort", value=NAME, key="own_name", max_chars=48, width=220)
        keep = st.button(
            "Use these customers", type="primary", icon=":material/check:", key="own_keep", disabled=waiting > 0
        )
    if waiting:
        st.caption(f"Please choose a reading above first ({waiting} to go).")
    if keep:
        with widgets.guarded("The cohort could not be saved:"):
            new_name = workspace.new_name(name or NAME, workspace.cohorts_folder())
            store.keep_cohort(new_name, lambda out: save_cohort(replace(cohort, name=new_name), out))
            st.session_state[JUST_KEPT], st.session_state[KEPT_FILES] = new_name, files
            session.choose_next(new_name)
            st.rerun()


def next_step(cohort: str) -> None:
    """Draw the link to the next step, once the current cohort has just been brought in: on the page and, once, over it.

    The button that keeps a cohort stands far down a page that is short afterwards, and Streamlit cannot scroll.
    """
    if st.session_state.get(JUST_KEPT) == cohort:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            _ready(cohort)
        if st.session_state.get(ANNOUNCED) != cohort:
            st.session_state[ANNOUNCED] = cohort
            st.dialog("Your customers are here", width="small", icon=":material/check:")(_ready)(cohort)


def _ready(cohort: str) -> None:
    reasons = store.untrainable(cohort)
    if not reasons:
        st.markdown(f"**{widgets.plain(cohort)}** is ready: {_size(cohort)}.")
        st.page_link(widgets.PAGES["train"], label="Train", icon=":material/model_training:")
        return
    st.markdown(f"**{widgets.plain(cohort)}** is kept: {_size(cohort)}. No model can be trained on these customers:")
    for why in reasons:
        st.markdown(f"- {widgets.plain(why)}")


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
            store.keep_cohort(new_name, lambda out: uploads.import_known(out, form, sources, days))
            take(new_name)


# ---- both ------------------------------------------------------------------------------------------------------------


def take(name: str) -> None:
    """Select a new cohort and rerun the page."""
    session.say(f"{widgets.plain(name)}: {_size(name)}")
    session.choose_next(name)
    st.rerun()


def _size(cohort: str) -> str:
    facts = store.cohort_card(cohort).facts
    return f"{facts.customers:,} customers, {facts.interactions:,} interactions"


COLORS = {"problem": "red", "warning": "orange", "note": "gray"}
"""Of the badge of each level of a finding, worst first."""


def findings(found: list[Finding]) -> list[str]:
    """Draw the findings of the data check, problems first, each with advice; returns the columns better left out."""
    if not found:
        st.markdown(":material/check: The data check found no problems.")
        return []
    with st.container(border=True):
        counts = {level: sum(f.level == level for f in found) for level in COLORS}
        summary = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n)
        st.markdown(f"**Data check**: {summary}")
        for finding in found:
            badge = f":{COLORS[finding.level]}-badge[{finding.level}]"
            advice = in_app_words(finding.advice)
            advice = f" :material/arrow_forward: {widgets.plain(advice)}" if advice else ""
            st.markdown(f"{badge} **{widgets.plain(finding.title)}**: {widgets.plain(finding.detail)}{advice}")
    return [finding.column for finding in found if finding.column is not None]
