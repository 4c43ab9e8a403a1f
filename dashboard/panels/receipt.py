"""The receipt of an import: how each file was read, the doubts with a control each, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from crm_models.data.sources.receipt import Doubt, Receipt, counted
from dashboard.panels import widgets
from dashboard.panels.app_words import in_app_words
from dashboard.state import access

HEADING = "How your files were read"
ANSWER = "answer_"
"""Beginning of the session keys of the doubts' controls."""
MANY_NOTES = 4
"""More notes than this are folded."""


def answers() -> tuple[tuple[str, str], ...]:
    """The doubts that the user has settled in this session: id and reading."""
    keys = [key for key in st.session_state if isinstance(key, str) and key.startswith(ANSWER)]
    return tuple(sorted((key.removeprefix(ANSWER), st.session_state[key]) for key in keys if st.session_state[key]))


def draw(receipt: Receipt) -> None:
    """Draw the receipt: files and rows in one line each, the doubts, the notes, and every column in a table."""
    st.caption(HEADING)
    rows = receipt.rows
    for file in receipt.files:
        layout = ", ".join(filter(None, [file["encoding"], _separator(file["delimiter"])]))
        st.markdown(
            f":material/description: **{widgets.plain(file['name'])}**: {counted(file['rows'], 'row')} of "
            f"{file['kind']}{f' ({layout})' if layout else ''}"
        )
    left_out = rows["rejected"] + rows["explained"]
    if left_out:
        st.markdown(
            f":material/rule: {rows['read']:,} rows read: {rows['kept']:,} kept, {rows['rejected']:,} that cannot be "
            f"read, {rows['explained']:,} that {'is' if rows['explained'] == 1 else 'are'} no data."
        )
    doubts(receipt.doubts)
    _notes(receipt)
    with st.expander(f"Each column ({len(receipt.columns)})", icon=":material/view_column:"):
        st.dataframe(_columns(receipt), hide_index=True, alt="How each column was read")


def _separator(delimiter: str | None) -> str:
    named = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
    return f"{named.get(delimiter, delimiter)}-separated" if delimiter else ""


def doubts(found: Sequence[Doubt]) -> None:
    """Draw a box for each doubt: the evidence, and a choice between its readings."""
    for doubt in found:
        # A reading that only stops the import is no choice here: the files are simply not kept.
        readings = {key: meaning for key, meaning in doubt.readings.items() if key != "stop"}
        with st.container(border=True):
            badge = ":orange-badge[please choose]" if doubt.is_open else ":gray-badge[settled]"
            if not doubt.stops and doubt.settled_by == "none needed":
                badge = ":gray-badge[can be changed]"
            st.markdown(f"{badge} {widgets.plain(in_app_words(doubt.evidence))}")
            st.radio(
                f"Reading of {widgets.plain(doubt.column)}",
                list(readings),
                index=None if doubt.stops else list(readings).index(doubt.chosen),
                format_func=lambda key, readings=readings: widgets.plain(readings[key]),
                key=f"{ANSWER}{doubt.id}",
                label_visibility="collapsed",
            )


def _notes(receipt: Receipt) -> None:
    evidence = tuple(doubt.evidence for doubt in receipt.doubts)
    notes = [in_app_words(note) for note in receipt.notes if not note.startswith(evidence)]
    if not notes:
        return
    shown, folded = notes[:MANY_NOTES], notes[MANY_NOTES:]
    st.markdown("\n".join(f"- {widgets.plain(note)}" for note in shown))
    if folded:
        with st.expander(f"{len(folded)} more", icon=":material/notes:"):
            st.markdown("\n".join(f"- {widgets.plain(note)}" for note in folded))


def _columns(receipt: Receipt) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "file": column.file,
            "column": column.column,
            "read as": f"{column.type} ({column.unit})" if column.unit else column.type,
            "blanks": ", ".join(f"{n:,} {word or 'empty'}" for word, n in column.blanks.items()),
            "odd cells": f"{column.odd:,} (first: {column.first_odd[1]} in row {column.first_odd[0]})"
            if column.first_odd
            else "",
            "written → read": "; ".join(
                written if written == read else f"{written} → {read}" for written, read in column.samples
            ),
        }
        for column in receipt.columns
    )


def rejected(receipt: Receipt) -> None:
    """Draw the download of the rows that were left out because they cannot be read."""
    if receipt.rows["rejected"]:
        st.download_button(
            f"Rows left out ({receipt.rows['rejected']:,})",
            access.exported("own files", receipt.rejected_csv, "upload"),
            "rejected.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="own_rejected",
        )
