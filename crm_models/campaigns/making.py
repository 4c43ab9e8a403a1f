"""A campaign from a run: every customer scored, the rules applied, a control group drawn, and the folder written."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crm_models.campaigns.budgeting import spend
from crm_models.campaigns.confidence import CONFIDENT, GIVEN, SOURCE, read_confident, seeds_of
from crm_models.campaigns.deciding import write_decisions
from crm_models.campaigns.folder import DECISIONS, FILE, Campaign, need_as_seen
from crm_models.campaigns.judged_parts import JudgingJob, write_judged
from crm_models.campaigns.judging import Funnel, need_valid
from crm_models.campaigns.ledger import exclusive, is_fixed
from crm_models.campaigns.offers import Actions, Offer
from crm_models.campaigns.rules import Rule, checked
from crm_models.campaigns.split import Split
from crm_models.core.engines import Engine, EngineName, InProcess
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import absolute, new_folder
from crm_models.core.permissions import Who, doing
from crm_models.core.places import address_of
from crm_models.core.provenance import now, versions
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID
from crm_models.core.sealed import FORMAT, write_record
from crm_models.data.cohort import Moment
from crm_models.data.drift import Difference, refuse
from crm_models.data.split import planning_moment
from crm_models.data.storage import Parts, customer_table, describe, digest
from crm_models.planning.plans import Catalogue
from crm_models.planning.policy import Policy
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import ScoringJob, engine_for
from crm_models.runs.trained import differences, plan_catalogue

Progress = Callable[[int, int], None]

OVERRULED = "Whether several trainings agree is taken from the plans.csv that was given, not from the seeds of the run."


def new(
    run: Path | str,
    out: Path | str,
    *,
    cohort: Path | str | None = None,
    policy: Policy | None = None,
    rules: Sequence[Rule] = (),
    offers: Sequence[Offer] = (),
    split: Split | None = None,
    scores: CustomerScores | None = None,
    plans: Path | str | None = None,
    allow_drift: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: Progress | None = None,
    before: Campaign | None = None,
    who: Who = "local",
) -> Campaign:
    """Make the campaign folder `out` from a run: apply the rules, plan, and assign the control group.

    cohort: customers other than those of the run. offers: the retention actions to choose from, in order of preference;
    without any, the policy's. split: by default a control group of a tenth, with a salt of its own. scores: of all
    customers of the cohort, if they are known already. plans: a plans.csv whose column `confident` says for whom
    several trainings agree, whatever the seeds of the run say. allow_drift: also for customers too different from the
    training customers. overwrite: replace an existing campaign. engine, workers, address: as for `workflow.plan`.
    before: the campaign that is made again; its ledger, budget and `confident` stay. who: makes it. Nothing is written
    before everything is known to be valid.
    """
    folder, out = RunFolder(Path(run)), Path(out)
    if (out / FILE).exists() and not overwrite:
        raise DataError(f"{out}: a campaign of this name exists; choose another --out, or replace it with --overwrite")
    source = Path(cohort or folder.about()["cohort"])
    drift = differences(folder, source)
    if not allow_drift:
        refuse(drift, source)
    design = _Design.of(folder, policy or Policy(), tuple(rules), tuple(offers))
    parts, n_customers = Parts(source), describe(source)["customers"]
    first = parts[0]
    moment = planning_moment(first)
    need_valid(design.rules, first, design.actions, moment, design.mandatory)
    origin = _origin(folder, source, moment, drift)
    said_by, confident = _confident(source, origin["cohort_hash"], plans, before)
    if said_by == GIVEN and seeds_of(origin) is not None:
        origin["notes"].append(OVERRULED)
    scoring = ScoringJob(
        run=address_of(folder.folder), cohort=address_of(source), allow_drift=allow_drift, device=device
    )
    job = JudgingJob(scoring=scoring, rules=design.rules, actions=design.actions, scores=scores)
    chosen: Engine = InProcess(threads)
    if scores is None:
        chosen = engine_for(engine, len(parts), workers=workers, address=address, threads=threads, device=device)
    said = None if progress is None else lambda done: progress(done, n_customers)
    with doing(who, "campaign.make", f"campaigns/{out.name}"), new_folder(out, FILE) as made:
        funnel = Funnel(design.rules, design.actions)
        judged = write_judged(made, chosen.results(job, len(parts)), funnel, said)
        about: dict[str, Any] = {
            "format": FORMAT,
            "name": out.name,
            "created_at": now(),
            **origin,
            **design.to_dict(),
            "split": (split or Split(salt=secrets.token_hex(4))).to_dict(),
            "covariates": ["churn_probability", "n_events", *(["value_before"] if judged.has_values else [])],
            "budget": None,
            "funnel": funnel.to_dict(),
            "decoded_again": judged.decoded_again,
            SOURCE: said_by,
            "versions": versions(),
        }
        write_decisions(Campaign(made, about), made / DECISIONS, value_before=judged.value_before, confident=confident)
        if before is not None and (ledger := before.folder / "ledger.jsonl").exists():
            shutil.copyfile(ledger, made / "ledger.jsonl")
        write_record(made / FILE, about)
        if before is not None and (budget := before.budget) is not None:
            spend(Campaign.load(made), money=budget["money"], value=budget["value"])
    return Campaign.load(out)


def _origin(run: RunFolder, cohort: Path, moment: Moment | None, drift: Sequence[Difference]) -> dict[str, Any]:
    """What campaign.json says of run, cohort and how they differ."""
    about_run, about_cohort = run.about(), describe(cohort)
    return {
        "run": str(absolute(run.folder)),
        "run_id": run.run_id,
        "cohort": about_cohort["name"],
        "cohort_folder": str(absolute(cohort)),
        "cohort_hash": digest(cohort),
        "trained_on_cohort_hash": about_run["cohort_hash"],
        "moment": about_cohort["as_of"] if moment is not None else about_cohort["last_timestamp"],
        "notes": [*about_run["notes"], *(difference.text for difference in drift)],
        "drift": [difference.to_dict() for difference in drift],
    }


def _confident(
    cohort: Path, cohort_hash: str, plans: Path | str | None, before: Campaign | None
) -> tuple[str | None, Any]:
    """Where it was said whether several trainings agree, and (N,) what was said; None where nothing was."""
    if plans is not None:
        ids = customer_table(cohort, [CUSTOMER_ID])[CUSTOMER_ID].astype("str")
        return GIVEN, read_confident(Path(plans), ids.to_numpy())
    if before is None or before.about["cohort_hash"] != cohort_hash:
        return None, None
    return before.about.get(SOURCE), before.decisions([CONFIDENT])[CONFIDENT].array


def remake(seen: Campaign, scores: CustomerScores | None = None, *, who: Who = "local", **changes: Any) -> Campaign:
    """The campaign with other rules, offers, policy or split (`changes`), in the same folder; its ledger stays.

    seen: the campaign as the caller knows it. What is not changed stays as it is by now; if somebody else has changed
    the same meanwhile, nothing is done and `ConfigError` says so. A budget is spent again, by the stated success rates.
    `ConfigError` too once it was exported or read: what was sent is measured as decided.
    """
    with doing(who, "campaign.change", seen.place), exclusive(seen.folder):
        campaign = Campaign.load(seen.folder)
        if is_fixed(campaign):
            raise ConfigError(
                f"{campaign.name} was exported or read already, so its rules and groups stay; make a new one"
            )
        need_as_seen(campaign, seen, tuple(changes))
        kept = {name: getattr(campaign, name) for name in ("policy", "rules", "offers", "split")}
        return new(
            campaign.about["run"],
            campaign.folder,
            cohort=campaign.about["cohort_folder"],
            **(kept | changes),
            scores=scores,
            allow_drift=True,  # as it was decided when the campaign was made
            overwrite=True,
            before=campaign,
        )


@dataclass(frozen=True, kw_only=True)
class _Design:
    """What a campaign may propose: checked, and in the vocabulary of the run. `Campaign` reads it back."""

    policy: Policy
    rules: tuple[Rule, ...]
    offers: tuple[Offer, ...]
    catalogue: Catalogue
    actions: Actions

    @classmethod
    def of(cls, run: RunFolder, policy: Policy, rules: tuple[Rule, ...], offers: tuple[Offer, ...]) -> _Design:
        """The offers become the policy's retention actions, filled up with its own to the three that it needs."""
        names = [offer.action for offer in offers]
        if len(set(names)) < len(names):
            raise ConfigError(f"expected each action once among the offers, found {', '.join(names)}")
        if offers:
            others = [action for action in policy.retention_actions if action not in names]
            policy = replace(policy, retention_actions=(*names, *others))
        catalogue = plan_catalogue(run, policy)
        actions = Actions.of(catalogue, run.encoder(), offers)
        return cls(policy=policy, rules=checked(rules), offers=offers, catalogue=catalogue, actions=actions)

    @property
    def mandatory(self) -> list[str]:
        """Actions that come first wherever they are allowed."""
        return [offer.action for offer in self.offers if offer.mandatory]

    def to_dict(self) -> dict[str, Any]:
        """Entries of campaign.json; candidates: codes of the actions on offer, in order of preference."""
        wanted = [offer.action for offer in self.offers] or self.policy.retention_actions
        ordered = sorted(wanted, key=lambda action: action not in self.mandatory)
        return {
            "policy": self.policy.to_dict(),
            "rules": [rule.to_dict() for rule in self.rules],
            "offers": [offer.to_dict() for offer in self.offers],
            "candidates": [self.catalogue.code(action) for action in ordered],
            "mandatory": [self.catalogue.code(action) for action in self.mandatory],
            "actions": vars(self.actions) | {"once": self.actions.once.tolist()},
            "catalogue": {name: getattr(self.catalogue, name) for name in ("n_actions", "fallback", "fallback_p")},
        }
