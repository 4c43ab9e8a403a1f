"""Text from data, in every place that reads Markdown, is shown letter for letter."""

import pytest

from tests.browser.conftest import ROOT, served

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TEXTS = [
    "<b>bold</b> <script>alert(1)</script>",
    "**x** _y_ `z` ~~w~~",
    "[link](http://evil) ![i](x)",
    ":red[hot] :material/home: :smile: :+1: :blue-badge[x]",
    "$a^2$ $$b$$",
    "# head",
    "1. one",
    "- item",
    "> quote",
    "a\nb\r\nc",
    '=HYPERLINK("x")',
    "&lt;b&gt; &amp;",
    "|a|b|",
    "http://www.evil.com www.evil.com x@y.zz",
    "\\*esc\\*",
    "--- a ... (c) -> <- ==",
    "12:30:45 a:b %{x} {y}",
    "```x``` ^[foot]",
]
SCRIPT = """
import streamlit as st
from dashboard.charts import cohort as cohort_charts, theme
from dashboard.panels import widgets
TEXTS = {texts!r}
for k, text in enumerate(TEXTS):
    with st.container(key=f"row{{k}}"):
        st.markdown(widgets.plain(text))
        st.caption(widgets.plain(text))
        st.button(widgets.plain(text), key=f"button{{k}}")
        st.metric("x", widgets.plain(text))
        with st.expander(widgets.plain(text)):
            st.write("x")
st.plotly_chart(cohort_charts.bars(TEXTS, [1] * len(TEXTS), title=theme.plain(TEXTS[0], 80), unit="x"), key="chart")
"""
PLACES = (
    "[data-testid=stMarkdown]",
    "[data-testid=stCaptionContainer]",
    "button",
    "[data-testid=stMetricValue]",
    "summary",
)


def test_text_is_shown_letter_for_letter(browser, tmp_path, monkeypatch):
    script = tmp_path / "app.py"
    script.write_text(SCRIPT.format(texts=TEXTS), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "workspace").mkdir()
    with served(tmp_path / "workspace", script) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector(".ytick text")
        for k, text in enumerate(TEXTS):
            row = page.locator(f".st-key-row{k}")
            for place in PLACES:
                shown = row.locator(place).first.inner_text().replace("\u2060", "").strip().split("\n")[-1]
                assert shown == " ".join(text.split()), place
            assert row.locator("a, img, mark, script").count() == 0
        ticks = page.locator(".ytick text").all_text_contents()
        assert ticks[0] == "<b>bold</b> <script>alert(1)</s…"
        page.close()
