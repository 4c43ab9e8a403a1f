"""Sign-in at a real OpenID provider: who has a role gets in, and what they may not do is refused and logged.

Also for a visitor who needs no page for it: one that speaks to the websocket itself.
"""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from playwright.sync_api import expect
from streamlit.proto.BackMsg_pb2 import BackMsg

from crm_models.campaigns.making import new
from crm_models.campaigns.split import Split
from crm_models.core import chain
from tests.browser.conftest import at_rest, served
from tests.browser.visitor import Seen, Visitor, signed_in, visited

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROLES = """
[roles]
admin = ["ann@x.org"]
analyst = ["bob@x.org"]
viewer = ["eve@x.org"]
[settings]
others = "hidden"
[quotas]
upload_mb = 1
"""
PEOPLE = ("ann", "bob", "eve")
PAGES = ("", "cohort", "train", "evaluate", "attention", "customers", "plans", "campaigns", "paper", "admin")
WARM = ("train", "paper")
"""Pages that start a worker for those who may train, and show viewers the same buttons."""
CHOSEN = "cohort=demo&run=demo-run&campaign=spring"
TABS = ("Approve", "Hand+over", "What+it+did")
PLACES = [(page, CHOSEN) for page in PAGES] + [("campaigns", f"{CHOSEN}&campaign_tab={tab}") for tab in TABS]
SECRETS = """
[auth]
redirect_uri = "http://localhost:{port}/oauth2callback"
cookie_secret = "a secret of this test alone, long enough"
client_id = "crm"
client_secret = "crm-secret"
server_metadata_url = "{provider}/.well-known/openid-configuration"
"""


@pytest.fixture(scope="module")
def provider():
    """The address of an OpenID provider that knows these people."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    people = [{"sub": name, "email": f"{name}@x.org", "email_verified": True} for name in PEOPLE]
    claims = [option for person in people for option in ("--user-claims", json.dumps(person))]
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--host", "localhost", "--port", str(port)]
    server = subprocess.Popen([*command, *claims], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    try:
        for _ in range(100):
            assert server.poll() is None
            try:
                urllib.request.urlopen(f"{address}/.well-known/openid-configuration", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def workspace(made, tmp_path_factory):
    """A workspace with a campaign, a hidden cohort of ann's, and roles."""
    root = tmp_path_factory.mktemp("team") / "workspace"
    shutil.copytree(made, root)
    shutil.copytree(root / "cohorts" / "demo", root / "cohorts" / "secret")
    new(root / "runs" / "demo-run", root / "campaigns" / "spring", split=Split(salt="s", holdout=0.3), threads=1)
    (root / "owners.json").write_text('{"cohorts/secret": "ann@x.org"}')
    (root / "roles.toml").write_text(ROLES)
    return root


@pytest.fixture(scope="module")
def team(workspace, provider):
    """The address of an app whose users sign in at the provider."""
    with served(workspace, secrets=lambda port: SECRETS.format(port=port, provider=provider)) as address:
        yield address


def sign_in(page, name: str) -> None:
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=name).first.click()  # at the provider
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    at_rest(page)


def test_people_sign_in_at_the_provider_and_do_what_their_role_allows(team, browser):
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{team}/train")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.get_by_text("Train both models").count() == 0
    sign_in(page, "eve")
    page.goto(f"{team}/cohort?cohort=demo")
    page.get_by_role("button", name="Generate cohort").click()
    expect(page.get_by_text("may not create cohorts")).to_be_visible()
    assert page.get_by_role("link", name="Admin").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="End session").click()  # at the provider
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    sign_in(page, "ann")
    page.get_by_role("link", name="Admin").click()
    expect(page.get_by_text("What was done")).to_be_visible()
    page.context.close()


def content(workspace) -> dict[str, str]:
    """Each file with its hash, apart from the log itself and what says that a page is open."""
    living = ("audit.jsonl", ".lock", "wanted", "runner.log", "runner", "working")
    return {
        str(file.relative_to(workspace)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(workspace.rglob("*"))
        if file.is_file() and not file.name.endswith(living)
    }


def refused(workspace, who: str) -> set[str]:
    file = workspace / "audit.jsonl"
    lines = chain.lines(file) if file.exists() else []
    return {line["action"] for line in lines if line["outcome"] == "refused" and line["who"] == who}


Buttons = dict[tuple[str, str], set[tuple[str, str]]]
"""Ids of buttons with their fragments, by page and query."""


async def every_button(address: str, name: str) -> Buttons:
    """The buttons that a person sees."""
    found: Buttons = {}
    async with Visitor(address, await signed_in(address, name)) as visitor:
        for place in PLACES:
            seen = await visitor.open(*place) if place[0] not in WARM else Seen()
            buttons = seen.of("button", "download_button")
            found[place] = {(button.id, fragment) for button, fragment in buttons if button.label != "Sign out"}
    return found


async def press_all(address: str, name: str, known: Buttons) -> None:
    """Press what an admin sees, and what the pages themselves show: drawn, disabled or not there at all."""
    cookies = await signed_in(address, name)
    for place in PLACES:
        async with Visitor(address, cookies) as visitor:
            seen = await visitor.open(*place)
            here = visitor.page_hash
            charts = [button.deferred_file_id for button, _ in seen.of("download_button") if button.label == "CSV"]
            assert None not in [await visitor.download(file) for file in charts], place
            own = {(button.id, fragment) for button, fragment in seen.of("button") if button.label != "Sign out"}
            for widget, fragment in sorted(own | known[place]):
                await visitor.press(widget, fragment)
                if visitor.page_hash != here:
                    await visitor.open(*place)


def test_a_viewer_presses_everything_over_the_websocket_and_nothing_changes(team, workspace):
    known = visited(every_button(team, "ann"))
    assert sum(len(buttons) for buttons in known.values()) > 40
    before = content(workspace)
    visited(press_all(team, "eve", known))
    assert content(workspace) == before
    assert refused(workspace, "eve@x.org") >= {
        "cohort.make", "cohort.delete", "run.train", "run.delete", "paper.run", "campaign.delete", "campaign.approve",
        "campaign.export", "campaign.read",
    }  # fmt: skip


async def downloads_of_plans(address: str, workspace) -> list[bool]:
    """Whether an analyst gets the plans, and still does from the same page when they are an analyst no more."""
    async with Visitor(address, await signed_in(address, "bob")) as visitor:
        seen = await visitor.open("plans", CHOSEN)
        file = next(button.deferred_file_id for button, _ in seen.of("download_button") if "plans" in button.label)
        got = [await visitor.download(file) is not None]
        (workspace / "roles.toml").write_text(ROLES.replace('["bob', '["nobody').replace('["eve', '["bob@x.org", "eve'))
        got.append(await visitor.download(file) is not None)
        (workspace / "roles.toml").write_text(ROLES)
        return got


def test_a_download_asks_for_the_role_when_it_is_clicked(team, workspace):
    assert visited(downloads_of_plans(team, workspace)) == [True, False]
    assert "plans.export" in refused(workspace, "bob@x.org")


async def uploads_of(address: str, name: str | None, *sizes: int) -> list[int]:
    """The statuses of uploads of so many bytes in one session."""
    async with Visitor(address, await signed_in(address, name) if name else None) as visitor:
        await visitor.open("cohort")
        return [await visitor.upload(b"x" * size) for size in sizes]


def test_nobody_fills_the_memory_with_uploads(team, workspace):
    assert visited(uploads_of(team, None, 10)) == [403]
    assert visited(uploads_of(team, "eve", 10)) == [403]
    assert visited(uploads_of(team, "bob", 600_000, 600_000, 300_000)) == [204, 403, 204]
    assert visited(uploads_of(team, "ann", 2_000_000)) == [204]
    assert "upload" in refused(workspace, "eve@x.org")


async def said_to(address: str, name: str | None, query: str) -> str:
    """What pages say to somebody who asks for something by its address, and for the admins' page by its hash."""
    async with Visitor(address, await signed_in(address, "ann")) as admin:
        await admin.open()
        of_admins = admin.pages["admin"]
    async with Visitor(address, await signed_in(address, name) if name else None) as visitor:
        said = [(await visitor.open(page, query)).texts() for page in ("", "cohort", "plans", "admin")]
        said.append((await visitor.open_by_hash(of_admins)).texts())
        return "\n".join(said)


def test_addresses_and_hashes_of_pages_open_nothing_that_is_not_theirs(team):
    secret = "cohort=secret&run=demo-run"
    to_ann, to_eve = visited(said_to(team, "ann", secret)), visited(said_to(team, "eve", secret))
    assert "What was done" in to_ann
    assert "What was done" not in to_eve
    assert "The cohort “secret” does not exist." in to_eve
    assert "does not exist" not in to_ann
    nobody = visited(said_to(team, None, secret))
    assert set(nobody.split("\n")) == {
        "CRM Transformers",
        "Plans and campaigns for the customers of your company. Sign in to go on.",
    }


async def messages_that_no_page_sends(address: str) -> set[str]:
    """The kinds of what is answered to them, up to the answer to a heartbeat after them."""
    async with Visitor(address) as visitor:
        await visitor.open()
        for name, value in (("load_git_info", True), ("set_run_on_save", True), ("clear_cache", True)):
            await visitor.send(BackMsg(**{name: value}))
        message = BackMsg()
        message.backend_operation_request.session_id = visitor.session
        message.backend_operation_request.install_skills.SetInParent()
        await visitor.send(message)
        await visitor.send(BackMsg(app_heartbeat=True))
        kinds: set[str] = set()
        while "heartbeat_ack" not in kinds:
            kinds.add(str((await visitor.next()).WhichOneof("type")))
        return kinds


def test_messages_that_no_page_sends_are_dropped(team):
    assert visited(messages_that_no_page_sends(team)) <= {"heartbeat_ack", "session_status_changed"}
