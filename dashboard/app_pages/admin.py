"""Admin page: what people who signed in did, and who may do what."""

from dashboard.panels import admin, widgets

widgets.title("Admin", "Who did what, and who may do what?")
with widgets.guarded():
    admin.log()
    admin.roles()
