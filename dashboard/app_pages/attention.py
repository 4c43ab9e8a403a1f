"""Attention: What do the models look at, and what really moves a prediction?"""

from dashboard import widgets

widgets.title("Attention", "What do the models look at, and what really moves a prediction?")
widgets.need_run()
widgets.empty_state("construction", "This page is being built", "Nothing to see here yet.")
