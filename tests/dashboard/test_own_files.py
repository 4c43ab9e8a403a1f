"""Own files in steps: the receipt before anything is kept, a choice for each doubt, rows and columns left out."""

import pandas as pd
import pytest

from crm_models.core.errors import CrmError
from crm_models.core.files import read_json
from crm_models.data.checks import check_cohort
from crm_models.data.sources.tables import import_tables
from crm_models.data.storage import load_cohort
from dashboard.panels.app_words import in_app_words

PEOPLE = "customer_id,churned,signup,visited,age\n" + "".join(
    f"c{k:02d},{('no', 'yes')[k % 2]},0{1 + k % 9}/0{1 + k % 7}/2025,{k % 2 or k % 4 // 2},{20 + k * 7 % 40}\n"
    for k in range(80)
)
ORDER = "answer_customers.signup.order"


@pytest.fixture
def own(open_page):
    """Opens the cohort page and uploads files, names to contents."""

    def upload(files: dict[str, str]):
        app = open_page("cohort")
        app.get_by_key("cohort_way").set_value("own").run()
        for name, content in files.items():
            app.file_uploader("own_files").upload(name, content.encode())
        return app.run()

    return upload


def test_what_was_guessed_is_shown_and_asked_before_the_cohort_is_kept(workspace, own, texts):
    app = own({"customers.csv": PEOPLE})
    assert not app.exception
    assert "How your files were read" in texts(app)
    assert "could be day-first or month-first, as in" in texts(app)
    assert app.button("own_keep").disabled
    assert app.radio(ORDER).value is None
    app.radio(ORDER).set_value("month_first").run()
    assert not app.button("own_keep").disabled
    app.text_input("own_name").set_value("mine").run()
    app.button("own_keep").click().run()
    kept = load_cohort(workspace / "cohorts" / "mine")
    assert kept.customers["signup"][1] == pd.Timestamp("2025-02-02")
    assert kept.customers["signup"][2] == pd.Timestamp("2025-03-03")
    receipt = read_json(workspace / "cohorts" / "mine" / "receipt.json")
    assert receipt["rows"] == {"read": 80, "kept": 80, "rejected": 0, "explained": 0}
    assert [(doubt["id"], doubt["chosen"]) for doubt in receipt["doubts"]] == [
        ("customers.signup.order", "month_first")
    ]
    assert texts(app).count("mine is ready: 80 customers, 0 interactions.") == 2, (
        "on the page, and in a dialog where the viewer is"
    )
    assert texts(app.run()).count("mine is ready: 80 customers, 0 interactions.") == 1
    assert not app.exception


def test_a_column_that_gives_the_label_away_is_left_out_by_a_button(workspace, own, texts):
    app = own({"customers.csv": PEOPLE})
    assert "Column visited is the same for all of one class" in texts(app).replace("\\", "")
    app.button("leave_out_visited").click().run()
    assert app.multiselect("drop_0").value == ["visited"]
    assert "Column visited" not in texts(app)


def test_bad_rows_refuse_the_file_until_the_switch_leaves_them_out(workspace, own, texts):
    events = "customer_id,action,timestamp\n" + "".join(f"k{k % 9},call,2026-01-{1 + k % 28:02d}\n" for k in range(60))
    app = own({"interactions.csv": events + ",call,2026-01-01\nk1,call\n"})
    assert "This file cannot be read:" in texts(app)
    app.toggle("own_skip_bad_rows").set_value(True).run()
    assert not app.exception
    assert "62 rows read: 60 kept, 2 that cannot be read, 0 that are no data." in texts(app)
    assert app.get_by_key("own_rejected").label == "Rows left out (2)"


def test_orders_and_their_lines_are_joined_if_that_is_chosen(workspace, own, texts):
    orders = "order_id,customer_id,order_date,total\n" + "".join(
        f"o{k},c{k % 3},2025-01-0{k + 1},99\n" for k in range(6)
    )
    lines = "order_id,product_id,price\n" + "".join(f"o{k},p{j},{k}.5\n" for k in range(6) for j in range(2))
    app = own({"orders.csv": orders, "items.csv": lines})
    assert "items.csv names no customer; its 'order_id' repeats" in texts(app).replace("\\", "")
    app.radio("answer_interactions.order_id.lines").set_value("join").run()
    assert not app.exception
    app.text_input("own_name").set_value("shop").run()
    app.button("own_keep").click().run()
    first = load_cohort(workspace / "cohorts" / "shop").interactions.iloc[0]
    assert (first["customer_id"], first["action"], first["value"]) == ("c0", "p0", 0.5)


def test_an_encoding_that_was_guessed_can_be_chosen_anew(workspace, own, texts):
    app = own({})
    app.file_uploader("own_files").upload(
        "customers.csv", "customer_id,churned\nŁukasz,yes\nŻaneta,no\n".encode("cp1250")
    )
    app.run()
    assert "cp1250, comma-separated" in texts(app).replace("\\", "")
    app.selectbox("encoding_0").select("cp1252").run()
    assert "£ukasz" in app.dataframe[0].value["customer_id"].tolist()


EVENTS = "customer_id,action,timestamp\n" + "".join(f"k{k % 9},call,2026-01-{1 + k % 28:02d}\n" for k in range(60))


@pytest.mark.parametrize(
    ("files", "options", "ours"),
    [
        ({"customers.csv": "customer_id,churned\na,gone\n"}, {}, "choose above which value means churned"),
        ({"customers.csv": "customer_id\nx\n", "interactions.csv": EVENTS}, {}, "choose the right columns above"),
        ({"interactions.csv": EVENTS + ",a,2026-01-01\n" * 2}, {}, "the switch above leaves them out"),
        ({"interactions.csv": EVENTS + "a,a,9999-12-31\n"}, {}, "the switch above leaves it out"),
        ({"interactions.csv": EVENTS}, {"churn_days": 400}, "use fewer days"),
        ({"customers.csv": "customer_id,churned\na,no\n"}, {"churn_days": 9}, "or leave the label out"),
    ],
)
def test_refusals_speak_the_words_of_the_app(tmp_path, files, options, ours):
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(CrmError) as refusal:
        import_tables([tmp_path], **options)
    said = in_app_words(str(refusal.value))
    assert ours in said
    assert "--" not in said


def test_notes_doubts_and_findings_speak_the_words_of_the_app(tmp_path):
    (tmp_path / "customers.csv").write_text(PEOPLE, encoding="utf-8")
    (tmp_path / "interactions.csv").write_bytes(
        ("kunde,datum,was\nc01,2099-01-01,Häuser\n" + "".join(f"c{k:02d},2025-01-01,Höfe\n" for k in range(9))).encode(
            "cp1252"
        )
    )
    cohort = import_tables([tmp_path], accept_doubts=True)
    receipt = cohort.documents["receipt.json"]
    texts = [*cohort.notes, *(doubt["evidence"] for doubt in receipt["doubts"])]
    texts += [finding.advice for finding in check_cohort(cohort)]
    assert len(texts) > 8
    assert [text for text in map(in_app_words, texts) if "--" in text] == []
