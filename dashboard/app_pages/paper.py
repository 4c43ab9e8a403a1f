"""Paper: the paper's story on a stage: what it claims, its re-run, live, and what it takes to reach its other table."""

from dashboard import paper_panels, paper_signal, paper_stage, paper_story, widgets

widgets.title("Paper", "What does the paper claim, and what comes out when it is run again?")
with widgets.guarded("The re-run of the paper cannot be read:"):
    paper_stage.be_ready()
    paper_stage.stage()
    story = paper_story.story()
    paper_panels.claims(story)
    paper_panels.losses(story)
    paper_panels.accuracies(story)
    paper_panels.figures(story)
    paper_panels.plans(story)
    paper_panels.contradictions(story)
    paper_signal.signal(story)
    paper_signal.take_away(story)
