"""The app's entry: navigation and frame (logo, current cohort and run). `streamlit run dashboard/app.py`."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # `streamlit run` puts only the folder of this file there
    sys.path.insert(0, str(ROOT))

from dashboard.panels import widgets  # noqa: E402  # the path comes first
from dashboard.state import demo, session  # noqa: E402  # the path comes first
from dashboard.streamlit_patches import gc_freeze, navigation  # noqa: E402  # the path comes first

st.set_page_config(page_title="CRM Transformers", page_icon=str(ROOT / "assets" / "icon.svg"), layout="wide")


def page(name: str, title: str, icon: str, about: str) -> st.Page:
    """One line of the navigation; the address is the name, and / for home."""
    home = {"default": True} if name == "home" else {"url_path": name}
    return st.Page(widgets.PAGES[name], title=title, icon=f":material/{icon}:", help=about, **home)


PAGES = {
    "": [page("home", "Home", "home", "The state of things, and the next sensible step.")],
    "Prepare": [
        page("cohort", "Cohort", "groups", "Customers and their history: generate, bring your own, look them over."),
        page("train", "Train", "model_training", "Train both models, watch them learn, compare runs."),
    ],
    "Understand": [
        page("evaluate", "Evaluate", "monitoring", "How good the models are, held against chance and ceiling."),
        page("attention", "Attention", "grid_on", "What the models look at, and what really moves a prediction."),
    ],
    "Act": [
        page("customers", "Customers", "person_search", "One customer: history, risk, plan, and what-if."),
        page("plans", "Plans", "checklist", "Who is at risk at which threshold, and the plans to download."),
    ],
    "Demonstrate": [page("paper", "Paper", "article", "The paper's story, re-run live.")],
}


def frame() -> None:
    """Logo, and which cohort and run every page talks about."""
    theme = "dark" if st.context.theme.type == "dark" else "light"
    st.logo(str(ROOT / "assets" / f"logo-{theme}.svg"), size="large", icon_image=str(ROOT / "assets" / "icon.svg"))
    cohorts, runs = session.settle_choice()
    # A box without options is drawn disabled, too pale to read: where there is nothing to choose, a sentence says so.
    with st.sidebar:
        if not cohorts:
            st.markdown("No cohort yet")
            return
        st.selectbox(
            "Cohort",
            cohorts,
            index=None,
            key=session.COHORT,
            bind="query-params",
            on_change=session.follow_newest,
            help="The customers that all pages talk about.",
        )
        if not runs:
            st.markdown("No run on this cohort yet")
            return
        st.selectbox(
            "Run",
            runs,
            index=None,
            key=session.RUN,
            bind="query-params",
            on_change=session.mark_chosen,
            help="One training on this cohort: its models make the predictions and plans.",
        )


navigation.keep()
chosen = st.navigation(PAGES)
with widgets.guarded("The workspace cannot be prepared:"):
    demo.prepare()
frame()
for message, icon in session.said():
    st.toast(message, icon=icon)
gc_freeze.spare_libraries()
chosen.run()
