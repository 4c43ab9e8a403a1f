"""Evaluate: How good are the models, and how far is it to the best possible?"""

from dashboard import widgets

widgets.title("Evaluate", "How good are the models, and how far is it to the best possible?")
widgets.need_run()
widgets.empty_state("construction", "This page is being built", "Nothing to see here yet.")
