"""Customers: Who is this customer, how likely are they to leave, and what comes next?"""

from dashboard import widgets

widgets.title("Customers", "Who is this customer, how likely are they to leave, and what comes next?")
widgets.need_run()
widgets.empty_state("construction", "This page is being built", "Nothing to see here yet.")
