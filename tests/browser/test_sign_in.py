"""Sign-in at a real OpenID provider: who has a role gets in, and what they may not do is refused and logged."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import at_rest, served

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROLES = '[roles]\nadmin = ["ann@x.org"]\nviewer = ["eve@x.org"]\n'
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
    """The address of an OpenID provider that knows ann and eve."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    people = [{"sub": name, "email": f"{name}@x.org", "email_verified": True} for name in ("ann", "eve")]
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


@pytest.fixture
def team(made, provider, tmp_path):
    """The address of an app whose users sign in at the provider."""
    shutil.copytree(made, tmp_path / "workspace")
    (tmp_path / "workspace" / "roles.toml").write_text(ROLES)
    with served(tmp_path / "workspace", secrets=lambda port: SECRETS.format(port=port, provider=provider)) as address:
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
