"""Permissions: roles from claims, who may do what, the audit log, and its chain."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core import chain
from crm_models.core.errors import AccessError, ConfigError, DataError
from crm_models.core.permissions import ACTIONS, OWN, ROLES, Actor, Rules, doing, name_in

RULES = """
[roles]
admin = ["Ann@x.org"]
approver = ["groups:crm-approvers"]
analyst = ["*@x.org"]
viewer = ["sub:guest-*"]
[settings]
others = "hidden"
personal = ["email"]
[quotas]
trainings = 2
"""


def rules(tmp_path, text=RULES):
    (tmp_path / "roles.toml").write_text(text)
    return Rules.read(tmp_path / "roles.toml")


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"email": "ann@X.org"}, "admin"),
        ({"email": "bob@x.org"}, "analyst"),
        ({"email": "bob@x.org", "groups": ["sales", "crm-approvers"]}, "approver"),
        ({"email": "eve@x.org.evil.com"}, None),
        ({"email": "ann@x.org", "email_verified": False}, None),
        ({"email": "ann@x.org", "email_verified": True}, "admin"),
        ({"sub": "guest-7"}, "viewer"),
        ({"groups": "crm-approvers"}, "approver"),
        ({"email": ["bob@x.org"]}, "analyst"),
        ({"email": 7}, None),
        ({}, None),
    ],
)
def test_the_role_is_the_highest_that_fits_what_the_provider_says(claims, role, tmp_path):
    assert rules(tmp_path).role_of(claims) == role


def test_an_address_that_is_not_verified_is_nobodys_name():
    assert name_in({"email": "Ann@x.org", "sub": "7"}) == "ann@x.org"
    assert name_in({"email": "ann@x.org", "email_verified": False, "sub": "7"}) == "7"
    assert name_in({}) == ""


def test_without_the_file_nobody_has_a_role(tmp_path):
    assert Rules.read(tmp_path / "none.toml").role_of({"email": "ann@x.org"}) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[roles]\nking = []\n", r"\[roles\]: expected viewer, analyst, approver, admin; found 'king'"),
        ("[roles]\nadmin = 'ann'\n", r"\[roles\] admin: expected a list of texts, found 'ann'"),
        ("[settings]\nothers = 'some'\n", "others: expected read or hidden, found 'some'"),
        ("[quotas]\ntrainings = -1\n", r"\[quotas\] trainings: expected a number from 0 up, found -1"),
        ("[rolls]\n", "expected the sections roles, settings, quotas; found 'rolls'"),
        ("[roles\n", "expected TOML with roles"),
    ],
)
def test_a_wrong_file_is_refused_by_name(text, expected, tmp_path):
    with pytest.raises(ConfigError, match=expected) as error:
        rules(tmp_path, text)
    assert "roles.toml" in str(error.value)


@given(st.sampled_from(sorted(ACTIONS)), st.sampled_from(ROLES), st.sampled_from([None, "me", "you"]))
def test_a_higher_role_may_do_all_that_a_lower_one_may_and_others_things_stay_theirs(action, role, owner):
    def may(role):
        return Actor(name="me", role=role).may(action, owner)

    higher = ROLES[ROLES.index(role) :]
    assert not may(role) or all(may(one) for one in higher)
    assert may("admin")
    assert not Actor(name="me", role=None).may(action, owner)
    if action in OWN and owner != "me":
        assert not may("approver")
    elif role == ACTIONS[action][0]:
        assert may(role)


def test_what_belongs_to_others_is_hidden_by_a_setting(tmp_path):
    hidden = Actor(name="bob", role="analyst", rules=rules(tmp_path))
    assert [hidden.may_see(owner) for owner in (None, "bob", "eve")] == [True, True, False]
    assert Actor(name="ann", role="admin", rules=hidden.rules).may_see("eve")
    assert Actor(name="bob", role="analyst").may_see("eve")
    assert not Actor(name="bob", role=None).may_see(None)


def test_what_is_done_refused_or_fails_is_logged_and_a_changed_log_is_noticed(tmp_path):
    log = tmp_path / "audit.jsonl"
    bob = Actor(name="bob", role="viewer", place="10.0.0.7", log=log)
    ann = Actor(name="ann", role="approver", log=log)
    expected = "bob may not approve or reject campaigns (spring): expected the role approver or higher, found viewer"
    with pytest.raises(AccessError, match=re.escape(expected)), doing(bob, "campaign.approve", "spring"):
        raise AssertionError("not reached")
    with doing(ann, "campaign.approve", "spring"):
        pass
    with pytest.raises(ZeroDivisionError), doing(ann, "campaign.change", "spring"):
        1 / 0  # noqa: B018
    expected = "ann may not delete this run (runs/r): only its owner cy and admins may"
    with pytest.raises(AccessError, match=re.escape(expected)), doing(ann, "run.delete", "runs/r", owner="cy"):
        raise AssertionError("not reached")
    with doing(bob, "look"), doing("local", "run.delete"):
        pass  # neither changes anything that has to be told
    lines = chain.lines(log)
    assert [(line["who"], line["action"], line["outcome"]) for line in lines] == [
        ("bob", "campaign.approve", "refused"),
        ("ann", "campaign.approve", "done"),
        ("ann", "campaign.change", "failed"),
        ("ann", "run.delete", "refused"),
    ]
    assert lines[0]["from"] == "10.0.0.7"
    texts = log.read_text().splitlines()
    changed = json.dumps(json.loads(texts[0]) | {"outcome": "done"})
    for spoiled in ([changed, *texts[1:]], texts[1:], [*texts[:2], texts[3]], [*texts[:3], texts[3][:20]]):
        log.write_text("\n".join(spoiled) + "\n")
        with pytest.raises(DataError, match="expected the line as it was written"):
            chain.lines(log)
    # The end is cut off: nothing more is done before somebody has looked at it.
    done = []
    with pytest.raises(DataError, match="expected a last line as it was written"), doing(ann, "campaign.change"):
        done.append("changed")
    assert done == []


@given(st.lists(st.text(max_size=3_000), min_size=1, max_size=4))
def test_the_last_hash_is_that_of_the_last_line_however_long_the_lines(texts):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "log.jsonl"
        assert chain.last_hash(file) == chain.START
        for text in texts:
            chain.append(file, {"text": text}, chain.last_hash(file))
        lines = chain.lines(file)
        assert [line["text"] for line in lines] == texts
        assert chain.last_hash(file) == lines[-1]["sha256"]


def test_many_at_once_lose_no_line_of_the_log(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def act(k: int) -> None:
        with doing(Actor(name=f"p{k}", role="admin", log=tmp_path / "audit.jsonl"), "run.train", f"runs/{k}"):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(24)))
    assert sorted(line["who"] for line in chain.lines(tmp_path / "audit.jsonl")) == sorted(f"p{k}" for k in range(24))
