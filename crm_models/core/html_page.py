"""Reports as one self-contained HTML file: sections, tables and Plotly figures, without any reference to the network.

Every text from data is escaped. Plotly's code is in the file once, and only if there is a figure.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from crm_models.core.files import new_file

if TYPE_CHECKING:
    import plotly.graph_objects as go

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --ours: #2A62F0; --truth: #A233B5; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td:first-child { min-width: 6.5rem; }
.lead { font-size: 1.1rem; } .soft { opacity: .75; } figure { margin: 1.2rem 0; } summary { cursor: pointer; }
"""
FIGURE = '<figure role="img"'
CONFIG = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"scale": 2}}
MOST_ROWS = 500
"""Rows of a table in a report; the file of the command line holds all."""


def write_page(text: str, out: Path | str) -> Path:
    """Write a page as a whole, or not at all."""
    out = Path(out)
    with new_file(out) as part:
        part.write_text(text, encoding="utf-8")
    return out


def page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """The page. parts: HTML made by the functions below. style: CSS of this page alone."""
    body = "".join(parts)
    script = ""
    if FIGURE in body:
        from plotly.offline import get_plotlyjs

        script = f"<script>{get_plotlyjs()}</script>"
    title = html.escape(title)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head += f"<style>{STYLE}{style}</style>{script}"
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>{title}</h1>{body}</main></body></html>\n'
    )


def section(heading: str, *content: str) -> str:
    """A heading with what follows it."""
    return f"<h2>{html.escape(heading)}</h2>" + "".join(content)


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph. kind: "lead" or "soft"."""
    return f"<p{f' class={kind}' if kind else ''}>{html.escape(text)}</p>"


def bullets(texts: Iterable[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"


def table(table: pd.DataFrame) -> str:
    """A table with every cell escaped; numbers to the right. Of a long table, the first rows."""
    numeric = [pd.api.types.is_numeric_dtype(table[c]) and table[c].dtype != bool for c in table]

    def cell(value: Any, right: bool, tag: str = "td") -> str:
        missing = value is None or value != value
        text = "" if missing else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if right else str(value)
        return f"<{tag}{' class=n' if right else ''}>{html.escape(text)}</{tag}>"

    head = "".join(
        f"<th{' class=n' if right else ''}>{html.escape(str(name))}</th>"
        for name, right in zip(table, numeric, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(cell(v, right) for v, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in table.head(MOST_ROWS).itertuples(index=False)
    )
    more = paragraph(f"The first {MOST_ROWS:,} of {len(table):,} rows.", "soft") if len(table) > MOST_ROWS else ""
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>{more}'


def figure(fig: go.Figure, alt: str, *, numbers: pd.DataFrame | None = None, note: str = "") -> str:
    """A Plotly figure that is drawn when the file is opened. alt: for screen readers. numbers: its table, folded."""
    import plotly.graph_objects as go
    import plotly.io as pio

    shown = go.Figure(fig).update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    name = "figure-" + hashlib.sha256(pio.to_json(shown).encode()).hexdigest()[:12]  # the same in every file
    drawn = pio.to_html(shown, full_html=False, include_plotlyjs=False, config=CONFIG, div_id=name)
    folded = "" if numbers is None else f"<details><summary>Numbers</summary>{table(numbers)}</details>"
    return f'{FIGURE} aria-label="{html.escape(alt)}">{drawn}</figure>{paragraph(note, "soft") if note else ""}{folded}'
