"""Own files with odd names and marks in them: uploaded, mapped, trained on, planned, downloaded; text stays text."""

import csv
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from crm_models import workflow
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS
from crm_models.inference.score_store import read_scores
from crm_models.planning.policy import Policy
from tests.browser.conftest import PATIENCE_MS, at_rest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NASTY = "<img src=x onerror=alert(1)> **bold** :red[hot] $a^2$ www.evil.example"
FORMULA = '=HYPERLINK("http://evil.example","x")'
ACTIONS = [NASTY, "<b>Anruf</b>", FORMULA, "Brief, per Post"]
LIST_MS = 5_000
"""After so long a list that has not opened was closed again."""

PEOPLE = ["=1+1", *(f"k{k}" for k in range(1, 40))]


def wait_for(is_so: Callable[[], bool], page: Page) -> None:
    """Give the page time until something outside it is so."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while not is_so():
        assert time.monotonic() < end, "it took too long"
        page.wait_for_timeout(100)


@pytest.fixture
def files(tmp_path):
    """German files of two encodings: 400 events by semicolon, 40 customers of whom every fourth left."""
    with (tmp_path / "ereignisse.csv").open("w", encoding="cp1252", newline="") as out:
        write = csv.writer(out, delimiter=";")
        write.writerow(["kunde", "aktion", "zeit", "betrag"])
        write.writerows(
            [PEOPLE[k % 40], ACTIONS[(k + k // 40) % 4], f"{1 + k % 28:02d}.02.2026", f"{k},5"] for k in range(400)
        )
    with (tmp_path / "kunden.csv").open("w", encoding="utf-8-sig", newline="") as out:
        write = csv.writer(out, delimiter=";")
        write.writerow(["kunde", "gegangen", NASTY])
        write.writerows([name, "ja" if k % 4 == 0 else "nein", k % 7] for k, name in enumerate(PEOPLE))
    return [tmp_path / "ereignisse.csv", tmp_path / "kunden.csv"]


def rows_of(file) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def choose(page, label: str, value: str, nth: int = 0) -> None:
    """Pick an option of the nth select box with this label, and wait until the page has taken it."""
    box = page.get_by_test_id("stSelectbox").filter(has=page.get_by_text(label, exact=True)).nth(nth)
    option = page.get_by_role("option", name=value, exact=True)
    for _ in range(PATIENCE_MS // LIST_MS):
        box.locator("input").focus()  # a click would scroll, and scrolling closes the list
        page.keyboard.press("Control+A")
        page.keyboard.type(value)
        try:
            option.wait_for(timeout=LIST_MS)
        except TimeoutError:
            continue  # the answer to the choice before came late, drew the page anew and so closed the list
        page.keyboard.press("Enter")
        break
    expect(box.locator("input")).to_have_value(value)
    at_rest(page)


def test_own_files_become_plans_in_a_csv_file(made, app, open_page, files, tmp_path):
    page = open_page("cohort")
    alerts = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))

    # Upload and map.
    page.get_by_text("Upload your own files").click()
    page.set_input_files("input[type=file]", files)
    expect(page.get_by_text("400 rows, 4 columns")).to_be_visible()
    choose(page, "This file holds", "Interactions: one row per event", 0)
    for label, column in (("Customer", "kunde"), ("Action", "aktion"), ("Time", "zeit"), ("Value", "betrag")):
        choose(page, label, column)
    choose(page, "This file holds", "Customers: one row per customer", 1)
    choose(page, "Customer", "kunde", 1)
    choose(page, "Churned", "gegangen")
    choose(page, "The value that means churned", "ja")
    expect(page.get_by_text("40 customers, 400 interactions, 4 actions, churn rate 25.0%")).to_be_visible()
    page.get_by_role("button", name="Use these customers").click()
    expect(page.get_by_role("heading", name="my-customers")).to_be_visible()
    assert "cohort=my-customers" in page.url
    # An action's name stands in the chart as text, and nothing of it became markup.
    expect(page.locator(".ytick text").get_by_text("<b>Anruf</b>", exact=True)).to_be_attached()

    # Train; the plans page fills by itself when everybody has been scored.
    page.get_by_role("dialog").get_by_role("link", name="Train").click()
    expect(page.get_by_role("heading", name="New training")).to_be_visible()
    page.get_by_text("paper", exact=True).click()
    expect(page.get_by_text("As in the paper: small models")).to_be_visible()
    page.get_by_role("button", name="Train both models").click()
    # While it trains the page says so, but on a busy machine it may be over before the page has drawn it.
    wait_for((made / "runs" / "my-customers-paper").exists, page)
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Plans").click()
    expect(page.get_by_role("button", name="Download plans (CSV)")).to_be_visible()

    # The threshold in the middle, so that both kinds of plan are there; then the file.
    run = made / "runs" / "my-customers-paper"
    everybody = read_scores(run / "scores" / "my-customers.parquet")
    threshold = round(sorted(everybody.churn_p)[20], 2)
    page.goto(f"{app}/plans?cohort=my-customers&threshold={threshold}")
    at_risk = sum(p > threshold for p in everybody.churn_p)
    metric = page.get_by_test_id("stMetric").filter(has_text="Customers at risk").get_by_test_id("stMetricValue")
    expect(metric).to_have_text(str(at_risk))
    at_rest(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download plans (CSV)").click()
    assert download.value.suggested_filename == "plans-my-customers.csv"
    download.value.save_as(tmp_path / "plans.csv")
    assert alerts == []
    assert page.locator("img[src='x']").count() == 0

    rows = rows_of(tmp_path / "plans.csv")
    assert [row["customer_id"] for row in rows] == ["'=1+1", *PEOPLE[1:]], "in the order of the cohort, no formula"
    for row, p in zip(rows, everybody.churn_p, strict=True):
        steps = [row[f"step_{k}_action"] for k in (1, 2, 3)]
        assert float(row["churn_probability"]) == pytest.approx(p, abs=1e-6)
        assert row["at_risk"] == str(float(row["churn_probability"]) > threshold).lower()
        assert len(set(steps)) == 3
        if row["at_risk"] == "true":
            assert (row["plan_source"], tuple(steps)) == ("override", DEFAULT_RETENTION_ACTIONS)
        else:
            assert row["plan_source"] == "model"
            assert set(steps) <= {NASTY, "<b>Anruf</b>", "'" + FORMULA, "Brief, per Post"}
    assert sum(row["at_risk"] == "true" for row in rows) == at_risk

    # And it is the file that the command line writes.
    workflow.plan(run, tmp_path / "by-command.csv", Policy(threshold=threshold))
    told = rows_of(tmp_path / "by-command.csv")
    same = [name for name in rows[0] if name != "scored_at"]
    assert [[row[name] for name in same] for row in rows] == [[row[name] for name in same] for row in told]
