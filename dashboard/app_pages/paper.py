"""Paper page: the printed results, the live re-run, and what it takes to reach Table II."""

from dashboard.panels import paper_chapters, paper_signal, paper_stage, paper_story, widgets

widgets.title("Paper", "What does the paper claim, and what does a re-run give?")
with widgets.guarded("The re-run of the paper could not be read:"):
    paper_stage.be_ready()
    paper_stage.stage()
    story = paper_story.story()
    paper_chapters.claims(story)
    paper_chapters.losses(story)
    paper_chapters.accuracies(story)
    paper_chapters.figures(story)
    paper_chapters.plans(story)
    paper_chapters.contradictions(story)
    paper_signal.signal(story)
    paper_signal.take_away(story)
