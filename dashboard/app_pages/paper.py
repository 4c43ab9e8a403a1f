"""Paper: What does the paper claim, and what comes out when it is run again?"""

from dashboard import widgets

widgets.title("Paper", "What does the paper claim, and what comes out when it is run again?")
widgets.empty_state("construction", "This page is being built", "Nothing to see here yet.")
