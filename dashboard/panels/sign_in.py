"""Sign-in: the page that everybody sees first where people sign in, and who is signed in, in the sidebar."""

from __future__ import annotations

import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.permissions import ROLES_FILE, Actor
from dashboard.panels import widgets
from dashboard.state import access


def gate() -> None:
    """Stop the page unless nobody needs to sign in, or a person with a role has. What follows checks on its own too."""
    try:
        now = access.who()
    except CrmError as error:  # a file of roles that cannot be read lets nobody in
        widgets.error_box(error, "Nobody can be let in:")
        st.stop()
    if not isinstance(now, Actor) or now.role is not None:
        return
    st.title("CRM Transformers")
    if not st.user.is_logged_in:
        st.markdown("Plans and campaigns for the customers of your company. Sign in to go on.")
        st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login, key="sign_in")
    else:
        st.warning(
            f"**{widgets.plain(now.name)}** has no role here. Ask whoever runs this app to add you to {ROLES_FILE}.",
            icon=":material/lock:",
        )
        st.button("Sign out", icon=":material/logout:", on_click=st.logout, key="sign_out")
    st.stop()


def account() -> None:
    """Draw who is signed in, and the button to sign out, in the sidebar."""
    now = access.who()
    if isinstance(now, Actor):
        with st.sidebar.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{widgets.plain(now.name, 40)}  \n{now.role}")
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout, key="sign_out")
