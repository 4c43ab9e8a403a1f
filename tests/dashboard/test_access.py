"""Sign-in and roles: the gate, each action tried by each role whatever pages show, owners, quotas, the admin page."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from crm_models.core import chain
from crm_models.core.permissions import ACTIONS, ROLES
from tests.dashboard.conftest import ENTRY

ROLES_TOML = """
[roles]
admin = ["ann@x.org"]
approver = ["cy@x.org"]
analyst = ["bob@x.org", "dora@x.org"]
viewer = ["eve@x.org"]
[settings]
others = "hidden"
personal = ["tier"]
[quotas]
trainings = 1
customers = 1000
"""
PEOPLE = dict(zip(ROLES, ("eve@x.org", "bob@x.org", "cy@x.org", "ann@x.org"), strict=True))


@pytest.fixture
def roles(workspace):
    """The workspace with roles."""
    (workspace / "roles.toml").write_text(ROLES_TOML)
    return workspace


def opened(email: str | None, page: str | None = None) -> AppTest:
    app = AppTest.from_file(str(ENTRY), default_timeout=60)
    app.user = {"is_logged_in": email is not None} | ({"email": email} if email else {})
    if page is not None:
        app.query_params["cohort"] = "small"
    return app.run()


def acted(email: str, code: str):
    """What a script says that runs as this person: it sets `said`."""
    app = AppTest.from_string(f"import streamlit as st\n{code}\nst.session_state['said'] = said", default_timeout=60)
    app.user = {"is_logged_in": True, "email": email}
    app.run()
    assert not app.exception, app.exception
    return app.session_state["said"]


def test_nobody_sees_a_page_before_signing_in_nor_without_a_role(roles):
    app = opened(None)
    assert [button.label for button in app.button] == ["Sign in"]
    assert app.sidebar.selectbox.len == 0
    app = opened("mallory@evil.org")
    assert "has no role here" in app.warning[0].value
    assert [button.label for button in app.button] == ["Sign out"]
    app = opened("eve@x.org")
    assert app.sidebar.selectbox[0].value == "small"
    assert any("viewer" in caption.value for caption in app.sidebar.caption)


def test_a_file_of_roles_that_cannot_be_read_lets_nobody_in(roles):
    (roles / "roles.toml").write_text("[roles]\nking = ['eve@x.org']\n")
    app = opened("eve@x.org")
    assert "expected viewer, analyst, approver, admin; found 'king'" in app.error[0].value.replace("\\", "")
    assert app.sidebar.selectbox.len == 0


TRY_ALL = """
from pathlib import Path
import pandas as pd
from crm_models.campaigns import budgeting, exporting, ledger, loaded, making, reading, simulation
from crm_models.campaigns.folder import Campaign
from crm_models.core.errors import AccessError, CrmError
from dashboard.jobs.queue import Job
from dashboard.panels import plans
from dashboard.state import access, campaign_store, paper_store, store, tune_store, workspace

card = store.run_card("first")
campaign = campaign_store.campaign("spring")
who = access.who()
out = workspace.workspace_folder() / "out.csv"
def upload():
    if (why := access.why_no_upload(st.user.to_dict(), 1)) is not None:
        raise AccessError(why)
tries = {
    "cohort.make": lambda: store.keep_cohort("new", lambda out: None),
    "cohort.delete": lambda: store.delete_cohort("other"),
    "run.train": lambda: store.start_run("small", arguments=[], about="", wish="new"),
    "run.stop": lambda: store.stop_run("second"),
    "run.delete": lambda: store.delete_run("second"),
    "run.compare": lambda: store.ask_for_scores_of(card, "other", allow_drift=True),
    "paper.run": lambda: paper_store.run(1),
    "plans.export": access.exported("runs/first", lambda: b""),
    "upload": upload,
    "campaign.make": lambda: campaign_store.make(card, "new"),
    "campaign.change": lambda: campaign_store.change(campaign, rules=()),
    "campaign.change ": lambda: budgeting.fund(campaign, money=10.0, who=who),
    "campaign.change  ": lambda: ledger.append(campaign, ledger.Entry(who=who, action="note", why="x")),
    "campaign.approve": lambda: ledger.approve(campaign, who),
    "campaign.export": lambda: exporting.export(campaign, out, exporting.ExportOptions(), who=who),
    "campaign.confirm": lambda: loaded.confirm(campaign, "braze", who=who),
    "campaign.read": lambda: simulation.simulate(campaign, who=who),
    "campaign.delete": lambda: campaign_store.delete("spring"),
    "audit.read": access.audit,
}
said = {}
for name, act in tries.items():
    try:
        act()
        said[name] = "done"
    except AccessError:
        said[name] = "refused"
    except CrmError as error:
        said[name] = str(error)
"""


@pytest.fixture
def spring(roles):
    """A campaign and a second cohort, both nobody's."""
    import shutil

    from crm_models.campaigns.making import new
    from crm_models.campaigns.split import Split

    shutil.copytree(roles / "cohorts" / "small", roles / "cohorts" / "other")
    new(roles / "runs" / "first", roles / "campaigns" / "spring", split=Split(salt="s", holdout=0.3), threads=1)
    return roles


@pytest.mark.parametrize("role", ROLES)
def test_every_action_is_checked_where_it_is_done(role, spring):
    said = acted(PEOPLE[role], TRY_ALL)
    assert {name.strip() for name in said} == set(ACTIONS) - {
        "look",
        "run.score",
        "workspace.backup",
        "workspace.restore",
    }
    for name, outcome in said.items():
        least, mine = ROLES.index(ACTIONS[name.strip()][0]), ROLES.index(role)
        own = name.strip() in ("cohort.delete", "run.stop", "run.delete", "campaign.delete")
        allowed = mine >= least and (role == "admin" or not own)  # what is nobody's is for admins to delete
        assert (outcome != "refused") == allowed, (name, outcome)
    lines = chain.lines(spring / "audit.jsonl") if (spring / "audit.jsonl").exists() else []
    assert {line["who"] for line in lines} == {PEOPLE[role]}
    refused = [line["action"] for line in lines if line["outcome"] == "refused"]
    assert refused == [name.strip() for name, outcome in said.items() if outcome == "refused"]
    if role in ("viewer", "analyst"):
        assert (spring / "campaigns" / "spring").exists()
    if role == "analyst":
        assert "only what is approved goes out" in said["campaign.export"]


def test_what_a_person_makes_is_theirs_and_hidden_from_others_by_the_setting(roles):
    make = """
from dashboard.state import store
store.generate_cohort("mine", scenario="paper", customers=100)
said = store.cohort_names()
"""
    assert acted("bob@x.org", make) == ["mine", "small"]
    queue = """
from dashboard.state import store
if not store.work():
    store.start_run("small", arguments=[], about="", wish="secret plan")
said = [job.job.run for job in store.work()]
"""
    assert acted("bob@x.org", queue) == ["secret-plan"]
    assert acted("dora@x.org", queue) == ["somebody else's job 1"]
    names = "from dashboard.state import store\nsaid = store.cohort_names()"
    assert [acted(who, names) for who in ("dora@x.org", "ann@x.org", "bob@x.org")] == [
        ["small"], ["mine", "small"], ["mine", "small"]
    ]  # fmt: skip
    look = """
from crm_models.core.errors import CrmError
from dashboard.state import store
try:
    said = store.cohort_card("mine").name
except CrmError as error:
    said = str(error)
"""
    assert "belongs to somebody else" in acted("dora@x.org", look)
    delete = look.replace('store.cohort_card("mine").name', 'store.delete_cohort("mine")')
    assert "only its owner bob@x.org and admins may" in acted("dora@x.org", delete)
    assert acted("bob@x.org", delete) is None
    assert json.loads((roles / "owners.json").read_text()) == {"runs/secret-plan": "bob@x.org"}


def test_nobody_takes_more_of_the_machine_than_their_quota(roles):
    code = """
from crm_models.core.errors import CrmError
from dashboard.state import access, store
said = []
for act in (
    lambda: store.generate_cohort("big", scenario="paper", customers=5_000),
    lambda: store.start_run("small", arguments=[], about="", wish="one"),
    lambda: store.start_run("small", arguments=[], about="", wish="two"),
):
    try:
        said.append(act())
    except CrmError as error:
        said.append(str(error))
"""
    first, second, third = acted("bob@x.org", code)
    assert first.startswith("expected at most 1,000 customers of a generated cohort, found 5,000")
    assert second == "one"
    assert third.startswith("expected at most 1 trainings of one person at a time, found 2")
    assert acted("ann@x.org", code)[1:] == ["one-2", "two"]  # admins have no quota
    (roles / "roles.toml").write_text(ROLES_TOML + "workspace_gb = 0.000001\n")
    assert "GB in the workspace" in acted("dora@x.org", code)[1]


def test_only_admins_read_what_was_done(roles):
    acted("eve@x.org", "from dashboard.state import session, store\nsaid = session.told(store.delete_run, 'first')")
    app = opened("ann@x.org").switch_page("app_pages/admin.py").run()
    assert not app.exception
    assert app.title[0].value == "Admin"
    table = app.dataframe[0].value
    assert table[["who", "action", "on", "outcome"]].values.tolist() == [
        ["eve@x.org", "run.delete", "runs/first", "refused"]
    ]
    with pytest.raises(ValueError, match="admin"):
        opened("eve@x.org").switch_page("app_pages/admin.py").run()


def test_without_sign_in_everybody_acts_as_the_owner_of_the_machine(workspace):
    code = "from dashboard.state import access\nsaid = (access.who(), access.visible('runs', ['x']), access.quotas())"
    app = AppTest.from_string(f"import streamlit as st\n{code}\nst.session_state['said'] = said").run()
    assert app.session_state["said"] == ("local", ["x"], None)


def test_personal_columns_are_masked_for_viewers(roles):
    code = """
from dashboard.state import campaign_store, predictions, reasons, store
card = store.run_card("first")
customer = predictions.customer("small", 0)
drivers = reasons.drivers(card, 0).drivers
said = (
    customer.profile["tier"],
    "tier" in predictions.ways_to_group(card),
    "tier" in set(store.cohort_profile("small").features["feature"]),
    [d.value for d in drivers if d.name == "tier"],
)
"""
    seen = acted("bob@x.org", code)
    assert seen[0] != "•••"
    assert seen[1:3] == (True, True)
    assert acted("eve@x.org", code) == ("•••", False, False, ["•••"] * len(seen[3]))


def test_values_of_personal_columns_stay_out_of_rules_and_reports(spring):
    code = """
from crm_models.campaigns import report
from crm_models.campaigns.rules import Condition, Rule
from dashboard.state import access, campaign_store
rule = Rule(name="few", kind="block", where=(Condition(column="tier", op="is", value="gold-plated"),))
campaign = campaign_store.campaign("spring")
if access.may("campaign.change"):
    campaign_store.change(campaign, rules=(rule,))
    campaign = campaign_store.campaign("spring")
said = (rule.sentence(access.personal()), "gold-plated" in report.page(campaign, access.marked_personal()))
"""
    assert acted("bob@x.org", code) == ("Never propose any action where tier is gold-plated.", False)
    assert acted("eve@x.org", code) == ("Never propose any action where tier is •••.", False)
