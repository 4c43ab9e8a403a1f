"""Report of a campaign: one self-contained HTML file with its rules, budget, groups, reading and model card."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pandas as pd

from crm_models.campaigns import budgeting, ledger
from crm_models.campaigns.checking import facts
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.reading import summary
from crm_models.core.errors import CrmError
from crm_models.core.files import new_file
from crm_models.runs.folder import RunFolder

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --ours: #2A62F0; --truth: #A233B5; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.9rem; margin-bottom: .2rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem; } .wide { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.lead { font-size: 1.1rem; } .soft { opacity: .75; }
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
    out = Path(out)
    with new_file(out) as part:
        part.write_text(page(campaign), encoding="utf-8")
    return out


def page(campaign: Campaign) -> str:
    """The report as HTML."""
    reading = campaign.reading()
    sections = [
        _campaign(campaign),
        _rules(campaign),
        _budget(campaign),
        _groups(campaign),
        _section("What it did", _p("Not read yet.")) if reading is None else _effect(reading),
        _ledger(campaign),
        _model_card(campaign),
    ]
    title = f"Campaign {html.escape(campaign.name)}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = f"<h1>{title}</h1>" + "".join(sections)
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def _section(heading: str, *content: str) -> str:
    return f"<h2>{html.escape(heading)}</h2>" + "".join(content)


def _p(text: str, kind: str = "") -> str:
    return f"<p{f' class={kind}' if kind else ''}>{html.escape(text)}</p>"


def _table(table: pd.DataFrame) -> str:
    """A table with every cell escaped; numbers to the right."""
    numeric = [pd.api.types.is_numeric_dtype(table[c]) and table[c].dtype != bool for c in table]

    def cell(value: Any, right: bool, tag: str = "td") -> str:
        missing = value is None or value != value
        text = "" if missing else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if right else str(value)
        return f"<{tag}{' class=n' if right else ''}>{html.escape(text)}</{tag}>"

    head = "".join(
        f"<th{' class=n' if right else ''}>{html.escape(str(name))}</th>"
        for name, right in zip(table, numeric, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(cell(v, right) for v, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _campaign(campaign: Campaign) -> str:
    found, about = facts(campaign), campaign.about
    return (
        _p(found.sentence() + ".", "lead")
        + _p(
            f"Made {about['created_at']} from run {about['run_id']} on cohort {about['cohort']}, as of "
            f"{about['moment']}. At risk: churn probability above {campaign.policy.threshold:g}.",
            "soft",
        )
        + "".join(_p(note) for note in about["notes"])
    )


def _rules(campaign: Campaign) -> str:
    if not campaign.rules:
        return _section("Rules", _p("None: every retention action is allowed for everybody at risk."))
    sentences = pd.DataFrame(
        {
            "rule": [rule.name for rule in campaign.rules],
            "kind": [rule.kind for rule in campaign.rules],
            "in words": [rule.sentence() for rule in campaign.rules],
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


def _groups(campaign: Campaign) -> str:
    found, split = facts(campaign), campaign.split
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
    scores = _scores(Path(about["run"]))
    if scores is not None:
        content.append(_table(scores))
    content.append(
        _p(
            "The models predict what customers like these do next. Only the control group tells what an action brings "
            "about.",
            "soft",
        )
    )
    return _section("Model card", *content)


def _scores(run: Path) -> pd.DataFrame | None:
    """Scores of the run between chance and ceiling, where its report is kept."""
    try:
        report = RunFolder(run).report() or {}
        rows = [
            {"score": label, "chance": float(part["chance"][name]), "ours": float(part[name])}
            | {"ceiling": float(part["ceiling"][name]) if part.get("ceiling") else None}
            for key, name, label in (
                ("sequence", "step_accuracy", "correct next actions"),
                ("churn", "auc", "churn ranking (AUC)"),
            )
            if (part := report.get(key)) and part.get(name) is not None
        ]
    except (CrmError, KeyError, TypeError):
        return None
    return pd.DataFrame(rows) if rows else None
