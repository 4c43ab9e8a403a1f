"""Plans: Who is at risk, and what do we do for whom?"""

from dashboard import widgets

widgets.title("Plans", "Who is at risk, and what do we do for whom?")
widgets.need_run()
widgets.empty_state("construction", "This page is being built", "Nothing to see here yet.")
