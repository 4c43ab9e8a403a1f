"""Drawn logs follow their law, and their ceiling is what knowing the law scores."""

import numpy as np
import pytest

from crm_models.bench import logs
from crm_models.data.storage import load_cohort

LAWS = (logs.markov, logs.second_order, logs.semi_markov)


@pytest.mark.parametrize("law", LAWS)
def test_the_next_action_has_probabilities_after_every_history(law):
    rng = np.random.default_rng(0)
    following = law(rng)
    history: list[int] = []
    for _ in range(200):
        p = following(history)
        assert p.min() >= 0
        assert p.sum() == pytest.approx(1)
        history.append(int(rng.choice(len(p), p=p)))


def test_a_stay_ends_with_certainty_once_it_is_the_longest_there_is():
    following = logs.semi_markov(np.random.default_rng(0), n_actions=3, longest=2)
    assert following([0, 1, 1])[1] == pytest.approx(0, abs=1e-12)
    assert following([0, 1])[1] > 0


@pytest.mark.parametrize("law", LAWS)
def test_the_ceiling_is_what_the_law_itself_scores_on_the_last_events(law):
    """Within four standard errors: the ceiling is an expectation, the events were drawn."""
    cohort, ceiling = logs.drawn("t", law(np.random.default_rng(1)), np.random.default_rng(2), customers=1500)
    following, hits, surprise = law(np.random.default_rng(1)), [], []
    action = np.array([int(name[1:]) for name in cohort.actions["action"]])[cohort.event_actions]
    for first, last in zip(cohort.starts[:-1], cohort.starts[1:], strict=True):
        p = following(action[first : last - 1].tolist())
        hits.append(p.argmax() == action[last - 1])
        surprise.append(-np.log(p[action[last - 1]]))
    for values, name in ((hits, "hr_at_1"), (surprise, "loss")):
        assert abs(np.mean(values) - ceiling[name]) < 4 * np.std(values) / np.sqrt(len(values))


def test_a_log_and_its_ceiling_are_written_and_scored(tmp_path, capsys, monkeypatch):
    real_drawn = logs.drawn
    monkeypatch.setattr(logs, "drawn", lambda name, law, rng: real_drawn(name, law, rng, customers=60))
    logs.make(tmp_path, None)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["markov", "second_order", "semi_markov"]
    assert load_cohort(tmp_path / "markov").n_customers == 60
    small = ["sequence.d_model=8", "sequence.d_feedforward=8", "sequence_training.n_epochs=1"]
    logs.run([tmp_path / "markov"], 1, 1, small)
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == [
        "markov:", "ours", "popular", "recent", "repeat_last", "markov", "markov_2", "ceiling",
    ]  # fmt: skip
