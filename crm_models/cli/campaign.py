"""The commands `campaign new | check | approve | ...`: from a prediction to a campaign that is sent and measured."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.cli.options import (
    Parser,
    add_allow_drift,
    add_device,
    add_engine,
    add_policy,
    command,
    computing,
    number,
    pairs,
    policy_of,
    positive,
    share,
    whole,
)
from crm_models.core.errors import ConfigError

if TYPE_CHECKING:
    from crm_models.campaigns.folder import Campaign


def add_campaign(commands: Any) -> None:
    """Add the command `campaign` with its own commands."""
    about = "Campaigns: rules, control group, budget, approval, hand-over and effect."
    parser: Parser = commands.add_parser("campaign", help=about, description=about)
    steps = parser.add_subparsers(dest="step", required=True, parser_class=Parser, metavar="STEP")
    for add in (
        _add_new,
        _add_check,
        _add_allocate,
        _add_approve,
        _add_export,
        _add_simulate,
        _add_read,
        _add_uplift,
        _add_report,
    ):
        add(steps)


def _campaign(steps: Any, name: str, about: str, run: Callable[[argparse.Namespace, Campaign], None]) -> Parser:
    """Add a step of a campaign; `run` gets the campaign beside the arguments."""

    def run_with_campaign(args: argparse.Namespace) -> None:
        from crm_models.campaigns.folder import Campaign

        run(args, Campaign.load(args.campaign))

    parser = command(steps, name, about, run_with_campaign)
    parser.add_argument("campaign", type=Path, metavar="CAMPAIGN")
    return parser


# ---- new, check ------------------------------------------------------------------------------------------------------


def _add_new(steps: Any) -> None:
    parser = command(steps, "new", "Make a campaign from a run: rules, plans and a control group.", _new)
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="CAMPAIGN")
    parser.add_argument("--cohort", type=Path, help="a cohort other than the one the run was trained on")
    parser.add_argument("--rules", type=Path, metavar="rules.csv", help="who may get which action")
    parser.add_argument("--offers", type=Path, metavar="offers.csv", help="retention actions with cost and capacity")
    parser.add_argument(
        "--plans", type=Path, metavar="plans.csv", help="plans with the column `confident`, to take over"
    )
    add_allow_drift(parser)
    add_policy(parser)
    parser.add_argument("--holdout", type=share, default=0.1, help="share of the control group (default: 0.1)")
    parser.add_argument("--explore", type=share, default=0.0, help="share who get a random allowed action, or none")
    parser.add_argument("--salt", help="text that decides who is in the control group (default: the campaign's name)")
    parser.add_argument("--metric", default="retained", help="what an outcome of 1 means (default: retained)")
    parser.add_argument("--horizon", type=positive, default=90.0, help="days until the campaign is read (default: 90)")
    parser.add_argument("--reading", choices=("at_end", "any_time"), default="at_end", help="one look, or many")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing campaign of this name")
    add_device(parser)
    add_engine(parser)


def _new(args: argparse.Namespace) -> None:
    from crm_models.campaigns import making
    from crm_models.campaigns.checking import facts
    from crm_models.campaigns.offers import read_offers
    from crm_models.campaigns.rules import read_rules
    from crm_models.campaigns.split import Split

    campaign = making.new(
        args.run_folder,
        args.out,
        cohort=args.cohort,
        policy=policy_of(args),
        rules=read_rules(args.rules) if args.rules else (),
        offers=read_offers(args.offers) if args.offers else (),
        split=Split(
            salt=args.salt or args.out.name,
            holdout=args.holdout,
            explore=args.explore,
            metric=args.metric,
            horizon_days=args.horizon,
            reading=args.reading,
        ),
        plans=args.plans,
        allow_drift=args.allow_drift,
        overwrite=args.overwrite,
        **computing(args),
        progress=None if args.quiet else lambda done, total: print(f"{done:,} of {total:,} customers", file=sys.stderr),
    )
    for note in (*campaign.about["notes"], *campaign.about["funnel"]["warnings"]):
        print(f"note: {note}", file=sys.stderr)
    print(f"{args.out}: {facts(campaign).sentence()}")


def _add_check(steps: Any) -> None:
    parser = _campaign(steps, "check", "Say who is dropped and why, and what the control group can tell.", _check)
    parser.add_argument("--customer", metavar="ID", help="one customer: every action, and the rule that dropped it")


def _check(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns.checking import report_lines

    if args.customer is not None:
        for row in campaign.why_not(args.customer).itertuples():
            print(f"{row.action}: {'dropped by ' + str(row.dropped_by) if row.dropped_by else 'allowed'}")
        return
    for line in report_lines(campaign):
        print(line)


def _add_allocate(steps: Any) -> None:
    parser = _campaign(steps, "allocate", "Spend a budget where it is worth most.", _allocate)
    parser.add_argument("--budget", type=number, metavar="X", help="money for all contacts (default: no limit)")
    parser.add_argument(
        "--value", default="100", metavar="V", help="value of a kept customer: a number, or a column of the customers"
    )
    parser.add_argument(
        "--learned-from", type=Path, metavar="CAMPAIGN", help="take effects from a campaign that was read"
    )


def _allocate(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns.budgeting import fund, summary

    try:
        value: float | str = float(args.value)
    except ValueError:
        value = str(args.value)
    taught: dict[str, Any] = {}
    if args.learned_from is not None:
        from crm_models.campaigns.folder import Campaign
        from crm_models.campaigns.learning import effects_for

        past = Campaign.load(args.learned_from)
        taught = {"effects": effects_for(campaign, past), "taught_by": past.name}
    campaign = fund(campaign, money=args.budget, value=value, **taught)
    for k, line in enumerate(summary(campaign)):
        print(f"{args.campaign}: {line}" if k == 0 else f"  {line}")


# ---- approve ---------------------------------------------------------------------------------------------------------


def _add_approve(steps: Any) -> None:
    parser = _campaign(steps, "approve", "Approve a campaign, or edit it; every step is kept in its ledger.", _approve)
    parser.add_argument("--who", help="who approves (default: the user of this machine)")
    parser.add_argument("--why", default="", help="the reason; needed to exclude, swap and reject")
    parser.add_argument("--four-eyes", action="store_true", help="refuse if the same person made the last edit")
    edits = parser.add_mutually_exclusive_group()
    edits.add_argument("--exclude", metavar="ID", help="take a customer out instead of approving")
    edits.add_argument("--swap", nargs=2, metavar=("ID", "ACTION"), help="give a customer another retention action")
    edits.add_argument("--undo", metavar="SHA256", help="take back an exclusion or a swap")
    edits.add_argument("--reject", action="store_true", help="withdraw the approval")
    edits.add_argument("--note", action="store_true", help="only note the reason")


def _approve(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns import ledger

    who = args.who or getpass.getuser()

    def entry(action: ledger.Act, **about: Any) -> ledger.Entry:
        return ledger.Entry(who=who, action=action, why=args.why, **about)

    if args.exclude is not None:
        line = ledger.append(campaign, entry("exclude", customer_id=args.exclude))
    elif args.swap is not None:
        line = ledger.append(campaign, entry("swap", customer_id=args.swap[0], to=args.swap[1]))
    elif args.undo is not None:
        line = ledger.append(campaign, entry("undo", to=args.undo))
    elif args.reject:
        line = ledger.append(campaign, entry("reject"))
    elif args.note:
        if not args.why:
            raise ConfigError("--note expects --why TEXT, found none")
        line = ledger.append(campaign, entry("note"))
    else:
        line = ledger.approve(campaign, who, why=args.why, four_eyes=args.four_eyes)
    print(f"{args.campaign}: {line['action']} by {line['who']} ({line['sha256']})")


# ---- export ----------------------------------------------------------------------------------------------------------


def _add_export(steps: Any) -> None:
    parser = _campaign(steps, "export", "Write the file for a CRM system, or confirm that it was loaded.", _export)
    parser.add_argument("--preset", choices=("csv", "salesforce", "hubspot", "braze", "klaviyo"), default="csv")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--identifier", metavar="COLUMN", help="the system's identifier column, if not its usual one")
    parser.add_argument("--id-column", metavar="COLUMN", help="column of the customers with the identifiers")
    parser.add_argument("--alias-label", default="", help="label beside Braze's user_alias_name")
    parser.add_argument("--changed-only", action="store_true", help="only what differs from what was confirmed")
    parser.add_argument("--targeted-only", action="store_true", help="leave out customers whom it is not for")
    parser.add_argument("--api-exact", action="store_true", help="csv: do not neutralise formulas")
    parser.add_argument("--most-mb", type=positive, metavar="MB", help="of one file, as 20 for HubSpot's free tools")
    parser.add_argument(
        "--most-rows", type=whole(1), metavar="N", help="of one file, as 50000 for Salesforce's Data Import Wizard"
    )
    parser.add_argument("--approved-only", action="store_true", help="refuse a campaign that is not approved")
    parser.add_argument("--confirm", action="store_true", help="note that the last export was loaded")
    parser.add_argument("--failed", type=Path, metavar="FILE", help="with --confirm: identifiers that failed to load")
    parser.add_argument("--who", help="who exports (default: the user of this machine)")


def _export(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns import exporting, ledger, loaded
    from crm_models.campaigns.presets import ExportOptions

    who = args.who or getpass.getuser()
    if args.confirm:
        done = loaded.confirm(campaign, args.preset, failed=args.failed, who=who)
        print(f"{args.campaign}: {done['loaded']:,} rows confirmed as loaded, {done['failed']:,} failed")
        return
    if args.out is None:
        raise ConfigError("export needs --out FILE, or --confirm")
    if args.approved_only and ledger.state(campaign).approved_by is None:
        raise ConfigError(f"{args.campaign} is not approved as it is now; use `campaign approve` first")
    options = ExportOptions(**{field.name: getattr(args, field.name) for field in fields(ExportOptions)})
    print(f"{args.out}: {exporting.summary(exporting.export(campaign, args.out, options, who=who))}")


# ---- simulate, read --------------------------------------------------------------------------------------------------


def _add_simulate(steps: Any) -> None:
    parser = _campaign(
        steps, "simulate", "Send the campaign into the world of a generated cohort, and read it beside the truth.",
        _simulate,
    )  # fmt: skip
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--value", type=number, help="value of a customer who stays (default: the budget's, or 100)")


def _simulate(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns.reading import summary
    from crm_models.campaigns.simulation import simulate

    result = simulate(campaign, seed=args.seed, value=args.value)
    truth = result["truth"]
    print(f"{args.campaign}: {summary(result)}")
    if truth["difference"] is not None:
        print(f"  in truth: {truth['difference'] * 100:+.1f} points")
    if truth["coverage"]["covered"] is not None:
        n = truth["coverage"]["campaigns"]
        print(f"  of {n} campaigns like this one, {truth['coverage']['covered']:.1%} of the intervals hold the truth")
    for name, label in (("best", "best targeting"), ("campaign", "this campaign"), ("risk_only", "by risk alone")):
        facts = truth["earnings"][name]
        print(
            f"  {label}: {facts['contacts']:,} contacts keep {facts['kept']:.1f} customers, earn {facts['earned']:,.0f}"
        )


def _add_read(steps: Any) -> None:
    parser = _campaign(steps, "read", "Read what came of a campaign from a table of outcomes.", _read)
    parser.add_argument("--outcomes", type=Path, required=True, metavar="outcomes.csv")


def _read(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns.reading import keep, read_outcomes, summary

    result = keep(campaign, read_outcomes(args.outcomes))
    for note in result["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(f"{args.campaign}: {summary(result)}")


def _add_uplift(steps: Any) -> None:
    parser = command(
        steps, "uplift", "Who is moved by which action, and what other plans would have brought.", _uplift
    )  # fmt: skip
    parser.add_argument("campaign", type=Path, metavar="CAMPAIGN|log.csv", help="a campaign that was read, or a log")
    parser.add_argument("--control", metavar="ARM", help="log.csv: the arm that got nothing")
    parser.add_argument(
        "--column", action="append", default=[], metavar="NAME=COLUMN", help="log.csv: as in arm=segment, outcome=visit"
    )
    parser.add_argument(
        "--drop", action="append", default=[], metavar="COLUMN", help="log.csv: no feature, as other outcomes are not"
    )
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--out", type=Path, metavar="uplift.json")


def _uplift(args: argparse.Namespace) -> None:
    from crm_models.campaigns import learning
    from crm_models.campaigns.folder import Campaign
    from crm_models.core.files import need_file_target, write_json

    if args.out is not None:
        need_file_target(args.out)
    if args.campaign.suffix == ".csv":
        columns = pairs(args.column, "--column expects NAME=COLUMN, as in arm=segment")
        result = learning.learn_from_log(args.campaign, args.control, columns=columns, drop=args.drop, seed=args.seed)
    else:
        result = learning.learn(Campaign.load(args.campaign), seed=args.seed)
    if args.out is not None:
        write_json(args.out, result)
    for line in learning.lines(result):
        print(line)


def _add_report(steps: Any) -> None:
    parser = _campaign(steps, "report", "Write one HTML file on the campaign.", _report)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html")


def _report(args: argparse.Namespace, campaign: Campaign) -> None:
    from crm_models.campaigns.report import write_report

    print(f"{write_report(campaign, args.out)}: the report of {args.campaign}")
