"""Cohort: generate, bring your own files however odd, look over, choose, delete."""

import io
from dataclasses import replace

import pandas as pd
import pytest

from crm_models.data.storage import describe, load_cohort
from dashboard.state import store

EVENTS = "client;what;when;amount\n" + "".join(
    f"c{k % 30};{'call' if k % 3 else 'mail'};{1 + k % 28:02d}.01.2026;{k},5\n" for k in range(240)
)
PEOPLE = "client,gone,age,town\n" + "".join(f"c{k},{'yes' if k % 4 == 0 else 'no'},{20 + k},Ulm\n" for k in range(30))


def own_files(open_page, **files: str | bytes):
    app = open_page("cohort")
    app.get_by_key("cohort_way").set_value("own").run()
    for name, content in files.items():
        raw = content if isinstance(content, bytes) else content.encode()
        app.file_uploader("own_files").upload(name.replace("__", "."), raw)
    return app.run()


def test_generate_cohort_makes_one_and_makes_it_current(workspace, open_page):
    app = open_page("cohort")
    app.number_input("generate_customers_lifelike").set_value(60)
    app.number_input("generate_seed").set_value(7)
    app.text_input("generate_name").set_value("Fünf & <b>mehr</b>")
    next(b for b in app.button if b.label == "Generate cohort").click().run()
    assert not app.exception
    assert app.selectbox("cohort").value == "funf-b-mehr-b"
    about = describe(workspace / "cohorts" / "funf-b-mehr-b")
    assert (about["customers"], about["settings"]["seed"]) == (60, 7)
    assert "run" not in {box.key for box in app.selectbox}


def test_the_papers_data_sets_are_generated_by_name_as_large_as_in_the_paper(workspace, open_page, texts):
    app = open_page("cohort")
    app.selectbox("generate_scenario").set_value("churn").run()
    assert "third data set" in texts(app)
    next(b for b in app.button if b.label == "Generate cohort").click().run()
    assert not app.exception
    about = describe(workspace / "cohorts" / "churn-100")
    assert (about["customers"], about["settings"]) == (100, {"scenario": "churn", "signal": 1.0, "seed": 0})
    assert "is invented" in texts(open_page("home", cohort="churn-100"))


def test_a_limit_of_the_page_holds_on_the_server_too(workspace, open_page, monkeypatch):
    monkeypatch.setattr("dashboard.state.store.MAX_GENERATED", 50)
    app = open_page("cohort")
    app.session_state["generate_customers_lifelike"] = 50
    app.run()
    next(b for b in app.button if b.label == "Generate cohort").click().run()
    assert describe(workspace / "cohorts" / "lifelike-50")["customers"] == 50


def test_the_profile_shows_actions_lengths_recency_segments_and_features(workspace, open_page, texts):
    app = open_page("cohort")
    assert not app.exception
    assert len(app.get("plotly_chart")) >= 4 + 3
    assert {m.label: m.value for m in app.metric}["Customers"] == "120"
    assert "Data check" in texts(app)


def test_two_own_files_are_mapped_by_guess_and_by_hand_and_kept(workspace, open_page, texts):
    app = own_files(open_page, events__csv=EVENTS, people__csv=PEOPLE)
    assert not app.exception
    assert app.selectbox("kind_0").value == "interactions"
    assert app.selectbox("kind_1").value == "customers"
    assert app.selectbox("column_0_interactions_customer_id").value == "client"
    assert app.selectbox("column_0_interactions_timestamp").value == "when"
    app.selectbox("column_0_interactions_action").select("what").run()
    app.selectbox("column_1_customers_churned").select("gone").run()
    assert "30 customers, 240 interactions, 2 actions, churn rate 26.7%" in texts(app)
    app.text_input("own_name").set_value("mine").run()
    app.button("own_keep").click().run()
    kept = load_cohort(workspace / "cohorts" / "mine")
    assert app.selectbox("cohort").value == "mine"
    assert kept.interactions["value"].max() == 239.5
    assert kept.customers["churned"].sum() == 8
    assert kept.feature_columns == ["age", "town"]


def test_files_of_one_kind_are_put_together(workspace, open_page, texts):
    half = EVENTS.splitlines(keepends=True)
    app = own_files(open_page, events_1__csv="".join(half[:121]), events_2__csv="".join([half[0], *half[121:]]))
    for k in (0, 1):
        app.selectbox(f"column_{k}_interactions_action").select("what")
    app.run()
    assert "30 customers, 240 interactions" in texts(app)


def test_without_a_time_there_is_nothing_to_build_and_the_page_says_what_to_choose(workspace, open_page, texts):
    app = own_files(open_page, interactions__csv="wer,was\na,b\n")
    assert "interactions.csv: choose the column for Customer, Time." in texts(app)
    assert not [b for b in app.button if b.key == "own_keep"]


def test_customers_without_an_id_are_numbered_or_named_by_a_column_as_chosen(workspace, open_page, texts):
    app = own_files(
        open_page, customers__csv="who,churned\n" + "".join(f"P{k},{'yes' if k else 'no'}\n" for k in range(5))
    )
    assert "5 customers, 0 interactions" in texts(app)
    assert app.button(key="own_keep").disabled
    choice = app.radio(key="answer_customers.customer_id.column")
    assert choice.options[1].replace("\\", "") == "the customer is in 'who' (P0)"
    choice.set_value("who").run()
    assert not app.button(key="own_keep").disabled


def test_a_parquet_file_keeps_its_types(workspace, open_page, texts):
    table = pd.DataFrame(
        {"customer_id": [1, 2, 3], "churned": [True, False, None], "since": pd.Timestamp("2026-01-01")}
    )
    raw = io.BytesIO()
    table.to_parquet(raw)
    app = own_files(open_page, customers__parquet=raw.getvalue())
    assert not app.exception
    assert "3 customers, 0 interactions, 0 actions, churn rate 50.0%" in texts(app)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("customers__csv", b"\x00\x01\x02PNG", "binary data"),
        ("customers__csv", b"", "empty file"),
        ("customers__parquet", b"PAR1 but not really", "Parquet"),
        ("events__csv__gz", b"\x1f\x8bnot packed", "packed file"),
        ("customers__csv", b"a,b\n1,2,3,4,5\n1\n", "same columns"),
        ("customers__csv", b"customer_id,customer_id\n1,2\n", "duplicate column"),
        ("customers__csv", b"customer_id,churned\n1,maybe\n2,no\n3,yes\n", "expected yes or no"),
        ("interactions__csv", b"customer_id,action,timestamp\na,b,yesterday\n", "expected a date"),
        ("customers__csv", b"customer_id,churned\na,1\na,0\n", "duplicate customer_id"),
        ("actions__csv", b"action,label\na,b\n", "table of interactions or of customers"),
    ],
)
def test_a_broken_upload_says_what_is_wrong_and_breaks_nothing(workspace, open_page, texts, name, content, said):
    app = own_files(open_page, **{name: content})
    assert not app.exception
    assert said in texts(app)
    assert not app.metric, "while files are brought in, the page is about them alone"
    assert open_page("cohort").metric, "the current cohort is still there"


def test_the_limits_are_said_clearly(workspace, open_page, texts, monkeypatch):
    monkeypatch.setattr("dashboard.state.uploads.MAX_ROWS", 100)
    assert "expected at most 100 rows, found 240" in texts(own_files(open_page, rows__csv=EVENTS))
    monkeypatch.setattr("dashboard.state.uploads.MAX_MB", 1)
    assert "expected at most 1 MB, found 2" in texts(own_files(open_page, size__csv="x" * 2_000_000))


def test_markup_in_names_is_shown_as_text(workspace, open_page):
    nasty = "<script>alert(1)</script> **x** :red[y]"
    app = own_files(open_page, customers__csv=f'customer_id,churned,"{nasty}"\na,1,{nasty}\nb,0,z\n')
    assert not app.exception
    app.button("own_keep").click().run()
    assert not app.exception
    for chart in app.get("plotly_chart"):
        assert "<script>" not in chart.proto.spec
    said = [m.value for m in app.markdown] + [c.value for c in app.caption]
    assert not any("<script>" in text or ":red[" in text for text in said)


def test_a_known_format_is_read_by_its_importer(workspace, open_page):
    app = open_page("cohort")
    app.get_by_key("cohort_way").set_value("known").run()
    ratings = "userId,movieId,rating,timestamp\n" + "".join(
        f"{u},{m},4.0,{1000000000 + m}\n" for u in "123" for m in range(9)
    )
    movies = "movieId,title,genres\n" + "".join(f'{m},"Film, The {m}",Drama\n' for m in range(9))
    app.file_uploader("known_files_movielens").upload("ratings.csv", ratings.encode())
    app.file_uploader("known_files_movielens").upload("movies.csv", movies.encode())
    app.run()
    next(b for b in app.button if b.label == "Read these files").click().run()
    assert not app.exception
    assert app.selectbox("cohort").value == "movielens"
    assert describe(workspace / "cohorts" / "movielens")["interactions"] == 27


def test_wrong_files_for_a_known_format_say_so(workspace, open_page, texts):
    app = open_page("cohort")
    app.get_by_key("cohort_way").set_value("known").run()
    app.selectbox("known_form").select("telco").run()
    app.file_uploader("known_files_telco").upload("../../evil.csv", b"a,b\n1,2\n")
    app.run()
    next(b for b in app.button if b.label == "Read these files").click().run()
    assert not app.exception
    assert "These files could not be read" in texts(app)
    assert not (workspace / "cohorts" / "telco").exists()


def test_a_cohort_is_deleted_only_after_a_second_click(workspace, open_page):
    app = open_page("cohort")
    assert (workspace / "cohorts" / "small").exists()
    app.button("delete_cohort").click().run()
    assert not (workspace / "cohorts" / "small").exists()
    assert not app.exception
    assert "cohort" not in {box.key for box in app.selectbox}


def test_a_count_too_long_for_its_box_is_shown_in_millions_with_the_exact_one_at_hand(
    workspace, open_page, monkeypatch
):
    real = store.cohort_card("small")
    monkeypatch.setattr(
        "dashboard.state.store.cohort_card",
        lambda name: replace(real, facts=replace(real.facts, interactions=2_186_401)),
    )
    box = next(m for m in open_page("cohort").metric if m.label == "Interactions")
    assert (box.value, box.proto.help) == ("2.19 M", "2,186,401")
