"""Rules: by hand on four customers, laws over random rules, and what is said on bad input."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_models.campaigns.judging import HAD_ALREADY, Funnel, judge, need_valid
from crm_models.campaigns.offers import Actions
from crm_models.campaigns.rules import KINDS, Condition, Rule, checked, read_rules, rules_csv
from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort

NAMES = ("mail", "call", "film", "discount")
ACTIONS = Actions(
    names=NAMES,
    labels=("Mail", "Call", "Film", "Discount"),
    kinds=("engagement", "engagement", "engagement", "retention"),
    channels=("email", "phone", "", "email"),
    once=np.array([False, False, True, False]),
)
TODAY = pd.Timestamp("2026-06-30")


def four_customers() -> Cohort:
    """ann: 3 mails in 10 days; bob: a film long ago; cy: nothing, age missing; di: one call yesterday."""
    people = pd.DataFrame(
        {
            "customer_id": ["ann", "bob", "cy", "di"],
            "age": [20.0, 40.0, np.nan, 60.0],
            "tier": ["gold", "basic", "gold", None],
            "optin": [True, False, True, True],
        }
    )
    events = pd.DataFrame(
        {
            "customer_id": ["ann", "ann", "ann", "bob", "di"],
            "action": ["mail", "mail", "mail", "film", "call"],
            "timestamp": pd.to_datetime(["2026-06-20", "2026-06-22", "2026-06-25", "2026-01-01", "2026-06-29"]),
        }
    )
    return Cohort.build(name="t", source="t", customers=people, interactions=events)


def dropped(*rules: Rule, churn_p=(0.1, 0.5, 0.9, np.nan)) -> list[str]:
    """Which actions of which customer are dropped, as initials: ["mc", "", ...] ("f" for bob's film not counted)."""
    code = judge(four_customers(), rules, ACTIONS, TODAY, np.array(churn_p)).code
    return ["".join(n[0] for n, k in zip(NAMES, row, strict=True) if k not in (0, HAD_ALREADY)) for row in code]


def where(column, op, value=None):
    return (Condition(column=column, op=op, value=value),)


def test_a_film_that_was_seen_is_had_already_and_nothing_else_is_dropped_without_rules():
    code = judge(four_customers(), (), ACTIONS, TODAY, np.zeros(4)).code
    assert code.tolist() == [[0, 0, 0, 0], [0, 0, HAD_ALREADY, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(name="r", kind="block", actions=("Call",)), ["c", "c", "c", "c"]),
        (Rule(name="r", kind="block", actions=("call",)), ["c", "c", "c", "c"]),
        (Rule(name="r", kind="block", actions=("channel:email",)), ["md", "md", "md", "md"]),
        (Rule(name="r", kind="block", actions=("kind:retention",)), ["d", "d", "d", "d"]),
        (Rule(name="r", kind="eligible", actions=("Call",), where=where("age", ">=", "30")), ["c", "", "c", ""]),
        (Rule(name="r", kind="suppress", actions=("Call",), where=where("age", "<=", "40")), ["c", "c", "", ""]),
        (Rule(name="r", kind="suppress", actions=("Call",), where=where("age", "missing")), ["", "", "c", ""]),
        (Rule(name="r", kind="suppress", actions=("Call",), where=where("tier", "is not", "gold")), ["", "c", "", ""]),
        (Rule(name="r", kind="suppress", actions=("Call",), where=where("optin", "is", "no")), ["", "c", "", ""]),
        (
            Rule(name="r", kind="suppress", actions=("Call",), where=where("age", "between", ("40", "60"))),
            ["", "c", "", "c"],
        ),
        (
            Rule(name="r", kind="suppress", actions=("Call",), where=where("churn_probability", ">=", "0.5")),
            ["", "c", "c", ""],
        ),
        (Rule(name="r", kind="suppress", actions=("Mail",), where=where("n_events", "is", "0")), ["", "", "m", ""]),
        (
            Rule(name="r", kind="suppress", actions=("Mail",), where=where("recency_days", "<=", "5")),
            ["m", "", "", "m"],
        ),
        (
            Rule(name="r", kind="suppress", actions=("Mail",), where=where("count(Mail, 9)", ">=", "2")),
            ["m", "", "", ""],
        ),
        (
            Rule(name="r", kind="suppress", actions=("Mail",), where=where("days_since(Call)", "<=", "1")),
            ["", "", "", "m"],
        ),
        (Rule(name="r", kind="cap", actions=("Mail",), most=3, days=10, counts=("Mail",)), ["m", "", "", ""]),
        (Rule(name="r", kind="cap", actions=("Mail",), most=3, days=9, counts=("Mail",)), ["", "", "", ""]),
        (Rule(name="r", kind="cap", actions=("Mail",), most=1, days=30), ["m", "", "", "m"]),
        (
            Rule(name="r", kind="suppress", actions=("Mail",), most=3, days=10, counts=("Mail",), pause_days=6),
            ["m", "", "", ""],
        ),
        (
            Rule(name="r", kind="suppress", actions=("Mail",), most=3, days=10, counts=("Mail",), pause_days=5),
            ["", "", "", ""],
        ),
        (
            Rule(name="r", kind="quiet", actions=("Call",), first=date(2026, 6, 30), last=date(2026, 7, 2)),
            ["c", "c", "c", "c"],
        ),
        (
            Rule(name="r", kind="quiet", actions=("Call",), first=date(2026, 7, 1), last=date(2026, 7, 2)),
            ["", "", "", ""],
        ),
    ],
    ids=lambda v: v.sentence() if isinstance(v, Rule) else None,
)
def test_each_kind_of_rule_by_hand(rule, expected):
    assert dropped(rule) == expected


def test_the_first_rule_is_named_by_kind_before_order_and_unknown_values_are_counted():
    cap = Rule(name="cap", kind="cap", actions=("Mail",), most=1, days=30)
    adults = Rule(name="adults", kind="eligible", actions=("Mail",), where=where("age", ">=", "30"))
    verdicts = judge(four_customers(), (cap, adults), ACTIONS, TODAY, np.zeros(4))
    assert verdicts.code[:, 0].tolist() == [2, 0, 2, 1]
    assert verdicts.n_drops[:, 0].tolist() == [2, 0, 1, 1]
    assert verdicts.unknown.tolist() == [0, 1]
    funnel = Funnel((cap, adults), ACTIONS)
    funnel.add(verdicts)
    table = funnel.table().set_index(["rule", "action"])
    assert table.loc[("adults", "Mail"), ["dropped_first", "would_come_back"]].tolist() == [2, 1]
    assert table.loc[("cap", "Mail"), ["dropped_first", "would_come_back"]].tolist() == [1, 1]
    assert table.loc[("had already", "Film"), "dropped_first"] == 1
    assert funnel.warnings() == [
        "Rule 'adults': a value is missing for 1 customers; its condition then counts as not met."
    ]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule(name="r", kind="block"), "Never propose any action."),
        (
            Rule(name="r", kind="eligible", actions=("channel:email",), where=where("age", "between", ("18", "30"))),
            "Propose any action by email only where age is between 18 and 30.",
        ),
        (
            Rule(name="r", kind="cap", actions=("kind:retention",), most=1, days=7),
            "Do not propose any retention action after 1 event in the last 7 days.",
        ),
        (
            Rule(
                name="r",
                kind="suppress",
                actions=("Mail", "Call"),
                where=where("tier", "one of", ("gold", "basic")),
                most=2,
                days=90,
                counts=("Call",),
                pause_days=14,
            ),
            "Do not propose Mail or Call where tier is one of gold, basic and after 2 of Call within 90 days, until 14 "
            "days have passed since the last.",
        ),
        (
            Rule(
                name="r", kind="quiet", first=date(2026, 12, 24), last=date(2026, 12, 26), where=where("age", ">=", "9")
            ),
            "Do not propose any action from 2026-12-24 to 2026-12-26 where age is at least 9.",
        ),
        (Rule(name="r", kind="block", where=where("age", "missing")), "Never propose any action where age is missing."),
    ],
)
def test_a_rule_is_read_back_in_words(rule, sentence):
    assert rule.sentence() == sentence


# ---- laws ------------------------------------------------------------------------------------------------------------

CONDITIONS = st.sampled_from(
    [
        where("age", ">=", "40"),
        where("tier", "is", "gold"),
        where("tier", "one of", ("gold", "basic")),
        where("churn_probability", "between", ("0.2", "0.6")),
        where("count(*, 20)", ">=", "2"),
        where("age", "missing"),
        (*where("optin", "is", "true"), *where("n_events", ">=", "1")),
    ]
)


@st.composite
def some_rules(draw):
    rules = []
    for k in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(KINDS))
        about = {"most": draw(st.integers(1, 3)), "days": 30.0} if kind == "cap" else {}
        if kind == "quiet":
            about = {"first": date(2026, 6, 1), "last": date(2026, 6, draw(st.integers(1, 30)))}
        actions = draw(st.sampled_from([("*",), ("Mail",), ("kind:retention",), ("channel:email", "Film")]))
        rules.append(Rule(name=f"r{k}", kind=kind, actions=actions, where=draw(CONDITIONS), **about))
    return tuple(rules)


def verdicts_of(rules):
    return judge(four_customers(), rules, ACTIONS, TODAY, np.array([0.1, 0.5, 0.9, np.nan]))


@given(some_rules(), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_order_changes_reasons_but_never_what_is_allowed_and_drops_add_up(rules, random):
    verdicts = verdicts_of(rules)
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert ((verdicts.code > 0) == (verdicts_of(tuple(shuffled)).code > 0)).all()
    assert ((verdicts.code > 0) == (verdicts.n_drops > 0)).all()
    funnel = Funnel(rules, ACTIONS)
    funnel.add(verdicts)
    assert funnel.first.sum() + funnel.allowed.sum() == verdicts.code.size
    assert (funnel.only <= funnel.first).all()
    # "Would come back without this rule" is what really comes back.
    for k, rule in enumerate(rules):
        without = verdicts_of(tuple(r for r in rules if r is not rule))
        assert int((without.code == 0).sum() - (verdicts.code == 0).sum()) == funnel.only[k].sum()


@given(some_rules(), some_rules())
@settings(max_examples=12, deadline=None)
def test_another_rule_never_allows_more(rules, more):
    both = rules + tuple(Rule.from_dict(r.to_dict() | {"name": f"more {r.name}"}) for r in more)
    assert ((verdicts_of(both).code == 0) <= (verdicts_of(rules).code == 0)).all()


@given(rules=some_rules())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rules_survive_a_file_and_json(rules, tmp_path):
    (tmp_path / "rules.csv").write_text(rules_csv(rules), encoding="utf-8")
    assert [r.to_dict() for r in read_rules(tmp_path / "rules.csv")] == [r.to_dict() for r in rules]
    assert tuple(Rule.from_dict(r.to_dict()) for r in rules) == rules


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,cap,*,,,,3,,,,,", "row 2: rule 'a' (cap): expected days beside most"),
        ("a,nap,*,,,,,,,,,", "row 2: rule 'a': kind must be one of block"),
        ("a,block,*,age,over,3,,,,,,", "row 2: op must be one of is, is not"),
        ("a,cap,*,,,,x,30,,,,", "row 2: column most: expected a number, found 'x'"),
        ("a,cap,*,,,,2.5,30,,,,", "row 2: column most: expected a whole number, found '2.5'"),
        ("a,quiet,*,,,,,,,,2026-12-26,2026-12-24", "expected first up to last, found 2026-12-26 after 2026-12-24"),
        ("a,quiet,*,,,,,,,,24.12.2026,", "row 2: column first: expected a date such as 2026-12-24"),
        ("a,eligible,*,,,,,,,,,", "expected a condition that says who is eligible"),
        ("a,suppress,*,,,,2,30,,,,", "expected most, days and pause_days together"),
        ("a,block,*,age,between,18,,,,,,", "age between: expected two values such as 18;30"),
        ("a,block,*,age,>=,,,,,,,", "age >=: expected a value, found none"),
        (",block,*,,,,,,,,,", "a rule needs a name, found a blank"),
        ("a,block,*,,,,,,,,,\nb,block,*,,,,,,,,,\na,block,*,,,,,,,,,", "found a second 'a'"),
        ("a,block,*,,,,,,,,,,,extra", "row 2: expected 12 cells, found 14"),
    ],
)
def test_a_bad_row_is_named_with_what_was_expected(line, expected, tmp_path):
    file = tmp_path / "rules.csv"
    file.write_text("name,kind,actions,column,op,value,most,days,counts,pause_days,first,last\n" + line + "\n")
    with pytest.raises(DataError) as error:
        read_rules(file)
    assert expected in str(error.value)
    assert "rules.csv" in str(error.value)


HEADER = "name,kind,actions,column,op,value,most,days,counts,pause_days,first,last"
CELLS = st.sampled_from(
    ["", "a", "block", "cap", "quiet", "eligible", "suppress", "*", "age", ">=", "between", "1;2", "-1", "1e400", "nan",
     "2026-01-01", '"', "\x00", "é;", "kind:retention"]
)  # fmt: skip


@given(lines=st.lists(st.lists(CELLS, min_size=1, max_size=12).map(",".join), max_size=4))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_of_rules_ends_in_anything_but_rules_or_a_sentence(lines, tmp_path):
    (tmp_path / "rules.csv").write_text("\n".join([HEADER, *lines]), encoding="utf-8")
    try:
        rules = read_rules(tmp_path / "rules.csv")
        need_valid(rules, four_customers(), ACTIONS, TODAY)
        judge(four_customers(), rules, ACTIONS, TODAY, np.zeros(4))
    except DataError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(name="r", kind="block", actions=("Fax",)), "rule 'r': expected an action, kind:retention"),
        (
            Rule(name="r", kind="block", where=where("income", ">=", "3")),
            "expected a profile column (age, tier, optin)",
        ),
        (Rule(name="r", kind="block", where=where("age", ">=", "old")), "age: expected a number, found 'old'"),
        (Rule(name="r", kind="block", where=where("tier", ">=", "b")), "tier >=: expected a column of numbers"),
        (Rule(name="r", kind="block", where=where("optin", "is", "maybe")), "optin: expected true or false"),
        (Rule(name="r", kind="block", where=where("count(Mail)", ">=", "3")), "expected count(ACTION, DAYS)"),
        (Rule(name="r", kind="cap", most=1, days=3, counts=("Fax",)), "found 'Fax'"),
        (
            Rule(name="r", kind="block", actions=("Discount",)),
            "'Discount' is blocked for everybody, but it is mandatory",
        ),
    ],
)
def test_a_rule_that_does_not_fit_the_cohort_is_refused(rule, expected):
    with pytest.raises(DataError) as error:
        need_valid((rule,), four_customers(), ACTIONS, TODAY, mandatory=["Discount"])
    assert expected in str(error.value)


def test_two_rules_of_one_name_are_refused_and_one_that_drops_everybody_is_a_warning():
    rule = Rule(name="r", kind="block")
    with pytest.raises(DataError, match="rule 'r': expected each name once, found 2"):
        checked((rule, rule))
    funnel = Funnel((rule,), ACTIONS)
    funnel.add(verdicts_of((rule,)))
    assert funnel.warnings() == ["Rule 'r' drops its actions for everybody."]
