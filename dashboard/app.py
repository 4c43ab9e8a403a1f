"""Entry point of the app: navigation, logo, and the cohort and run selectors. `streamlit run dashboard/app.py`."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # `streamlit run` adds only this file's folder to the path
    sys.path.insert(0, str(ROOT))

from dashboard.panels import share, sign_in, widgets  # noqa: E402  # needs the path set above
from dashboard.state import access, demo, session, view  # noqa: E402  # needs the path set above
from dashboard.streamlit_patches import gc_freeze, messages, navigation, sessions, uploads  # noqa: E402  # needs the path set above

st.set_page_config(page_title="CRM Transformers", page_icon=str(ROOT / "assets" / "icon.svg"), layout="wide")


def page(name: str, title: str, icon: str, about: str) -> st.Page:
    """One entry of the navigation. Its address is the name, or / for home."""
    home = {"default": True} if name == "home" else {"url_path": name}
    return st.Page(widgets.PAGES[name], title=title, icon=f":material/{icon}:", help=about, **home)


PAGES = {
    "": [page("home", "Home", "home", "Current state and the next step.")],
    "Prepare": [
        page("cohort", "Cohort", "groups", "Customers and their history: generate, upload, inspect."),
        page("train", "Train", "model_training", "Train both models, follow their progress, compare runs."),
    ],
    "Understand": [
        page("evaluate", "Evaluate", "monitoring", "Model quality, compared with chance and the ceiling."),
        page("attention", "Attention", "grid_on", "What the models look at, and which inputs drive a prediction."),
    ],
    "Act": [
        page("customers", "Customers", "person_search", "One customer: history, churn risk, plan and what-if."),
        page("plans", "Plans", "checklist", "Customers at risk at a chosen threshold, and plans to download."),
        page("campaigns", "Campaigns", "campaign", "Rules, control group, approval, hand-over and effect."),
    ],
    "Demonstrate": [page("paper", "Paper", "article", "The paper's experiment, re-run live.")],
}


def frame() -> None:
    """Draw the logo and the selectors of the cohort and run that all pages show."""
    theme = "dark" if st.context.theme.type == "dark" else "light"
    st.logo(str(ROOT / "assets" / f"logo-{theme}.svg"), size="large", icon_image=str(ROOT / "assets" / "icon.svg"))
    cohorts, runs = session.settle_choice()
    # Streamlit draws a select box without options disabled and too pale to read, so a sentence replaces it.
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
            help="The customers that all pages show.",
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
            help="A training on this cohort. All pages use its models for predictions and plans.",
        )
        with widgets.guarded("There is nothing to share:"):
            share.popover(view.current())


messages.refuse_others()
sessions.free_in_time()
uploads.limit(access.why_no_upload)
if access.is_admin():
    about = "Who did what, and who may do what."
    PAGES["Run the app"] = [st.Page("app_pages/admin.py", title="Admin", icon=":material/shield_person:", help=about)]

sign_in.gate()
navigation.keep()
chosen = st.navigation(PAGES)
uploads.drop_left_behind(chosen.url_path)
with widgets.guarded("The workspace cannot be prepared:"):
    demo.prepare()
view.begin()
with widgets.guarded("The workspace cannot be read:"):
    frame()
sign_in.account()
for message, icon in session.said():
    st.toast(message, icon=icon)
gc_freeze.spare_libraries()
# The last resort: whatever file a page needs and cannot read, the frame stays, and the file is named.
with widgets.guarded("This page cannot be shown completely:"):
    chosen.run()
