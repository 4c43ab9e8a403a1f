"""Report of a campaign: one self-contained HTML file with its rules, budget, groups, reading and model card."""

from __future__ import annotations

import html
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from crm_models.campaigns import budgeting, ledger
from crm_models.campaigns.checking import Facts, facts
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.reading import summary
from crm_models.core import html_page
from crm_models.core.errors import CrmError
from crm_models.core.html_page import paragraph as _p
from crm_models.core.html_page import section as _section
from crm_models.core.html_page import table as _table
from crm_models.runs.folder import RunFolder
from crm_models.runs.report import score_table

STYLE = """
.effect { display: grid; grid-template-columns: 12rem 1fr; gap: .35rem .8rem; align-items: center; margin: 1rem 0; }
.track { position: relative; height: 1.3rem; background: var(--soft); border-radius: 3px; }
.track i { position: absolute; top: .5rem; height: .3rem; background: var(--ours); }
.track b { position: absolute; top: .2rem; width: .9rem; height: .9rem; margin-left: -.45rem; border-radius: 50%;
  background: var(--ours); }
.track u { position: absolute; top: .25rem; width: .75rem; height: .75rem; margin-left: -.37rem;
  background: var(--truth); transform: rotate(45deg); }
.track s { position: absolute; top: 0; bottom: 0; border-left: 1px dotted currentColor; }
"""


def write_report(campaign: Campaign, out: Path | str) -> Path:
    """Write the report of a campaign as one HTML file without any reference to the network."""
    return html_page.write_page(page(campaign), out)


def page(campaign: Campaign, hidden: Collection[str] = ()) -> str:
    """The report as HTML. hidden: columns whose values do not stand in it."""
    reading, found = campaign.reading(), facts(campaign)
    sections = [
        _campaign(campaign, found),
        _rules(campaign, hidden),
        _budget(campaign),
        _groups(campaign, found),
        _section("What it did", _p("Not read yet.")) if reading is None else _effect(reading),
        _ledger(campaign),
        _model_card(campaign),
    ]
    return html_page.page(f"Campaign {campaign.name}", sections, style=STYLE)


def _campaign(campaign: Campaign, found: Facts) -> str:
    about = campaign.about
    return (
        _p(found.sentence() + ".", "lead")
        + _p(
            f"Made {about['created_at']} from run {about['run_id']} on cohort {about['cohort']}, as of "
            f"{about['moment']}. At risk: churn probability above {campaign.policy.threshold:g}.",
            "soft",
        )
        + "".join(_p(note) for note in about["notes"])
    )


def _rules(campaign: Campaign, hidden: Collection[str]) -> str:
    if not campaign.rules:
        return _section("Rules", _p("None: every retention action is allowed for everybody at risk."))
    sentences = pd.DataFrame(
        {
            "rule": [rule.name for rule in campaign.rules],
            "kind": [rule.kind for rule in campaign.rules],
            "in words": [rule.sentence(hidden) for rule in campaign.rules],
        }
    )
    drops = pd.DataFrame(campaign.about["funnel"]["drops"])
    content = [_table(sentences)]
    if not drops.empty:
        content += [
            _p("Customers by action that each rule dropped first, and who would come back without it:"),
            _table(drops.rename(columns=lambda name: name.replace("_", " "))),
        ]
    return _section("Rules", *content, *(_p(w) for w in campaign.about["funnel"]["warnings"]))


def _budget(campaign: Campaign) -> str:
    budget = campaign.about["budget"]
    if budget is None:
        return _section("Budget", _p("None: every targeted customer gets the first retention action that is allowed."))
    table = pd.DataFrame(
        {
            "action": list(budget["costs"]),
            "cost": list(budget["costs"].values()),
            "success rate": list(budget["success_rates"].values()),
            "capacity": list(budget["capacity"].values()),
            "contacts": list(budget["used"].values()),
            "price of one more place": list(budget["capacity_price"].values()),
        }
    )
    lines = [line[0].upper() + line[1:] + "." for line in budgeting.summary(campaign)]
    return _section("Budget", *(_p(line) for line in lines), _table(table))


def _groups(campaign: Campaign, found: Facts) -> str:
    split = campaign.split
    groups = pd.DataFrame({"group": list(found.by_arm), "customers": list(found.by_arm.values())})
    return _section(
        "Control group",
        _p(found.power_sentence()),
        _table(groups),
        _p(
            f"Assigned by md5 of the salt {split.salt!r} and the customer's id; control group {split.holdout:.1%}, "
            f"explore {split.explore:.1%}; to be read after {split.horizon_days:g} days, "
            + ("once, at the end." if split.reading == "at_end" else "at any time."),
            "soft",
        ),
    )


def _effect(result: dict[str, Any]) -> str:
    content = [_p(summary(result) + ".", "lead"), *(_p(note) for note in result["notes"])]
    difference, truth = result["difference"], result.get("truth")
    if difference is None:
        return _section("What it did", *content)
    rows = [("Difference", difference), *([("Adjusted", result["adjusted"])] if result["adjusted"] else [])]
    rows += [(f"{'risk: ' if s['by'] == 'risk_band' else ''}{s['segment']}", s) for s in result["segments"]]
    known = truth["difference"] if truth else None
    scale = 100 if result.get("binary") else 1
    ends = [e[k] for _, e in rows for k in ("value", "low", "high") if e[k] is not None] + [0.0, known or 0.0]
    low, high = min(ends), max(ends)
    wide = (high - low) or 1.0

    def at(value: float) -> str:
        return f"{100 * (value - low) / wide:.2f}%"

    drawn = []
    for k, (label, e) in enumerate(rows):
        left, right = (e["value"] if e[end] is None else e[end] for end in ("low", "high"))
        mark = f'<u style="left:{at(known)}" title="truth"></u>' if known is not None and k < 2 else ""
        drawn.append(
            f'<span>{html.escape(label)}</span><div class="track"><s style="left:{at(0)}"></s>'
            f'<i style="left:{at(left)};right:calc(100% - {at(right)})"></i>{mark}'
            f'<b style="left:{at(e["value"])}"></b></div>'
        )
    numbers = pd.DataFrame(
        {
            "": [label for label, _ in rows],
            "effect": [float(e["value"] * scale) for _, e in rows],
            "95% from": [None if e["low"] is None else float(e["low"] * scale) for _, e in rows],
            "to": [None if e["high"] is None else float(e["high"] * scale) for _, e in rows],
        }
    )
    content += [f'<div class="effect">{"".join(drawn)}</div>', _table(numbers)]
    content.append(
        _p(
            f"By intention to treat: {result['observed']['plan']:,} customers with the plan, "
            f"{result['observed']['holdout']:,} in the control group. "
            + ("In points. " if scale == 100 else "")
            + "Segments are corrected for how many there are.",
            "soft",
        )
    )
    if truth:
        content.append(_truth(truth))
    return _section("What it did", *content)


def _truth(truth: dict[str, Any]) -> str:
    earned = truth["earnings"]
    names = (("best", "best possible targeting"), ("campaign", "this campaign"), ("risk_only", "by churn risk alone"))
    table = pd.DataFrame(
        [{"targeting": label} | {k: float(v) for k, v in earned[name].items()} for name, label in names]
    )
    said = f"Simulated: in truth the effect is {100 * (truth['difference'] or 0):+.1f} points"
    covered = truth["coverage"]["covered"]
    if covered is not None:
        said += (
            f"; {covered:.1%} of {truth['coverage']['campaigns']} simulated campaigns have an interval that holds it"
        )
    said += f". If all {int(earned['campaign']['contacts']):,} targeted customers were contacted, targeting would earn:"
    return _p(said) + _table(table)


def _ledger(campaign: Campaign) -> str:
    found = ledger.lines(campaign.folder)
    if not found:
        return _section("Approval", _p("Nobody has approved this campaign."))
    approved = ledger.state(campaign).approved_by
    table = pd.DataFrame(found)[["at", "who", "action", "customer_id", "why"]]
    return _section("Approval", _p(f"Approved by {approved}." if approved else "Not approved as it is."), _table(table))


def _model_card(campaign: Campaign) -> str:
    about = campaign.about
    rows = {
        "run": about["run_id"],
        "cohort": about["cohort"],
        "data (SHA-256)": about["cohort_hash"],
        "trained on (SHA-256)": about["trained_on_cohort_hash"],
        "decisions (SHA-256)": campaign.decisions_mark(),
        "versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    }
    content = [_table(pd.DataFrame({"": list(rows), "value": list(rows.values())}))]
    if (report := _report(Path(about["run"]))) is not None:
        content.append(_table(score_table(report)))
    content.append(
        _p(
            "The models predict what customers like these do next. Only the control group tells what an action brings "
            "about.",
            "soft",
        )
    )
    return _section("Model card", *content)


def _report(run: Path) -> dict[str, Any] | None:
    """The report of the run, if it is still there and whole."""
    try:
        return RunFolder(run).report()
    except CrmError:
        return None
