"""Paper: the paper's story on a stage: what it claims, its re-run, live, and what it takes to reach its other table."""

from dashboard.panels import paper_chapters, paper_signal, paper_stage, paper_story, widgets

widgets.title("Paper", "What does the paper claim, and what comes out when it is run again?")
with widgets.guarded("The re-run of the paper cannot be read:"):
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
