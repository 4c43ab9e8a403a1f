"""Hand-over of a campaign: the file for a CRM system, what was rejected, and the confirmation that it was loaded."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.campaigns import exporting, loaded, systems
from crm_models.campaigns import ledger as campaign_ledger
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.presets import PRESETS, ExportOptions, PresetName
from crm_models.core.files import new_file
from crm_models.core.schema import CUSTOMER_ID
from crm_models.planning.export import manifest_path, neutralised
from dashboard.panels import widgets
from dashboard.state import access, campaign_store, session, workspace

SYSTEMS: dict[PresetName, str] = {
    "csv": "CSV for spreadsheets and people",
    "salesforce": "Salesforce",
    "hubspot": "HubSpot",
    "braze": "Braze",
    "klaviyo": "Klaviyo",
}
MADE = "campaign_files"
"""Session key of the last export: campaign, manifest, its ZIP in the workspace, and the first rejected rows."""
REJECTED_SHOWN = 100
LARGEST = "the usual one"
WAY_HELP = "How the file gets into the system: some ways take smaller files, so it is cut into more of them."


def draw(chosen: Campaign) -> None:
    """Draw the options, the export, what was rejected, and the confirmation."""
    approved = campaign_ledger.state(chosen).approved_by
    if approved is None:
        st.warning("This campaign is not approved as it is now.", icon=":material/warning:")
    options = _options(chosen)
    if st.button("Write the file", type="primary", icon=":material/output:", key="write_file"):
        with widgets.guarded("The file cannot be written:"), st.spinner("Writing and reading back"):
            st.session_state[MADE] = (chosen.name, *_made(chosen, options))
            st.rerun()
    st.caption("Once a file was written, rules, groups and budget of the campaign stay as they are.")
    made = st.session_state.get(MADE)
    if made is not None and made[0] == chosen.name:
        _result(made[1], made[2], made[3])
    _confirm(chosen, options.preset)


def _options(chosen: Campaign) -> ExportOptions:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        system = st.selectbox("System", list(SYSTEMS), format_func=SYSTEMS.__getitem__, key="system", width=280)
        about: dict[str, Any] = {"preset": system}
        if system != "csv":
            about |= _identifier(chosen, system)
    with st.container(horizontal=True):
        about["targeted_only"] = st.toggle("Targeted customers only", key="targeted_only")
        if system != "csv":
            about["changed_only"] = st.toggle(
                "Only what changed",
                key="changed_only",
                help="Since the last file that was confirmed as loaded, of this or of another campaign.",
            )
    if system == "csv":
        about["api_exact"] = _text_choice(chosen)
    return ExportOptions(**about)


def _identifier(chosen: Campaign, system: PresetName) -> dict[str, Any]:
    identifier = st.selectbox("Identifier", list(PRESETS[system].identifiers), key=f"identifier_{system}", width=200)
    profile = campaign_store.profile_columns(chosen)
    column = st.selectbox("from the column", [CUSTOMER_ID, *profile], key=f"id_column_{system}", width=200)
    about: dict[str, Any] = {"identifier": identifier, "id_column": None if column == CUSTOMER_ID else column}
    if ways := PRESETS[system].ways:
        way = st.selectbox("Way in", [LARGEST, *ways], key=f"way_{system}", width=200, help=WAY_HELP)
        about["most_mb"], about["most_rows"] = ways.get(way, (None, None))
    if identifier == "user_alias_name":
        about["alias_label"] = st.text_input("Alias label", "crm", key="alias_label", width=140) or "crm"
    return about


def _text_choice(chosen: Campaign) -> bool:
    """Draw the choice between spreadsheet-safe and exact text; returns whether it is exact."""
    changed = _ids_changed(str(chosen.folder), workspace.mark(chosen.folder / "decisions.parquet"))
    choice = st.radio(
        "Text",
        ["Safe for spreadsheets", "Exact"],
        horizontal=True,
        key="text_choice",
        help="A cell that starts with = + - or @ can run as a formula. The safe file puts an apostrophe before it; an "
        "importer would store that apostrophe.",
    )
    if changed:
        st.markdown(
            f":material/info: **{changed:,} customer ids** start like a formula, as phone numbers with + do. The safe "
            "file changes them; choose **Exact** if a system will match customers by this id."
        )
    return choice == "Exact"


@st.cache_data(max_entries=16, show_spinner=False)
def _ids_changed(folder: str, mark: str) -> int:
    ids = Campaign.load(folder).decisions([CUSTOMER_ID])[CUSTOMER_ID]
    return sum(neutralised(customer) != customer for customer in ids)


def _made(chosen: Campaign, options: ExportOptions) -> tuple[dict[str, Any], Path, pd.DataFrame]:
    """The manifest, a ZIP of all files in the workspace, and the first rejected rows."""
    target = workspace.exports_folder() / f"campaign-{chosen.name}-{options.preset}.zip"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{chosen.name}-{options.preset}.csv"
        manifest = exporting.export(chosen, out, options, who=access.who(st.session_state.get("approver") or "local"))
        names = [*manifest["files"], manifest_path(out).name]
        rejected = pd.DataFrame(columns=systems.REJECTED_COLUMNS)
        if manifest["rejected_file"] is not None:
            names.append(manifest["rejected_file"])
            rejected = pd.read_csv(
                out.with_name(manifest["rejected_file"]), dtype="str", keep_default_na=False, nrows=REJECTED_SHOWN
            )
        with new_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(out.with_name(name), name)
    return manifest, target, rejected


def _result(manifest: dict[str, Any], file: Path, rejected: pd.DataFrame) -> None:
    with st.container(border=True):
        st.markdown(widgets.plain(exporting.summary(manifest)))
        st.download_button(
            "Download the files (ZIP)",
            data=access.exported(f"campaigns/{manifest['campaign']}", lambda: file.open("rb"), "campaign.export"),
            file_name=f"{manifest['campaign']}-{manifest['preset']}.zip",
            mime="application/zip",
            icon=":material/download:",
            on_click="ignore",
            key="download_files",
        )
        if len(rejected):
            st.markdown(f"**Rejected**: {manifest['counts']['rejected']:,} rows, because the system would refuse them.")
            st.dataframe(rejected, hide_index=True, alt="Rejected rows and why")


def _confirm(chosen: Campaign, system: PresetName) -> None:
    if not loaded.pending_file(chosen, system).exists():
        return
    with st.expander("Was it loaded?", icon=":material/task_alt:", expanded=True):
        st.caption(
            "Confirm what the system has taken, so that the next file holds only what changed. Failed rows go again."
        )
        file = st.file_uploader(
            "Identifiers that failed, first column of a CSV (optional)",
            type="csv",
            key="failed_rows",
            max_upload_size=50,
        )
        if st.button("Confirm as loaded", key="confirm_loaded"):
            with widgets.guarded("The load cannot be confirmed:"), tempfile.TemporaryDirectory() as folder:
                failed = None
                if file is not None:
                    failed = Path(folder) / "failed.csv"
                    failed.write_bytes(file.getvalue())
                done = loaded.confirm(
                    chosen, system, failed=failed, who=access.who(st.session_state.get("approver") or "local")
                )
                session.say(f"{done['loaded']:,} rows confirmed, {done['failed']:,} failed.")
                st.rerun()
