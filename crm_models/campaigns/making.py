"""A campaign from a run: every customer scored, the rules applied, plans decoded again where a rule dropped a step.

The cohort is read part by part. Removing an action that a plan does not use never changes the most probable plan, so
only customers whose plan holds a dropped action are decoded again.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crm_models.campaigns.budgeting import spend
from crm_models.campaigns.deciding import write_decisions
from crm_models.campaigns.folder import DECISIONS, FILE, ROW, Campaign
from crm_models.campaigns.judging import ALLOWED, Funnel, judge, need_valid
from crm_models.campaigns.ledger import exclusive, is_fixed
from crm_models.campaigns.offers import Actions, Offer
from crm_models.campaigns.rules import Rule, checked
from crm_models.campaigns.split import Split
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import absolute, new_folder
from crm_models.core.provenance import now, versions
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID, VALUE
from crm_models.core.sealed import FORMAT, write_record
from crm_models.core.tables import TableWriter
from crm_models.data.cohort import Cohort
from crm_models.data.split import planning_moment
from crm_models.data.storage import describe, digest, last_moment_days, part, parts
from crm_models.inference.score_store import write_scores
from crm_models.planning.policy import Policy
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import plan_catalogue

if TYPE_CHECKING:
    from crm_models.data.features import CohortArrays
    from crm_models.runs.trained import Models

Progress = Callable[[int, int], None]


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
    overwrite: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    ledger: str = "",
    budget: Mapping[str, Any] | None = None,
) -> Campaign:
    """Make the campaign folder `out` from a run: apply the rules, plan, and assign the control group.

    cohort: customers other than those of the run. offers: the retention actions to choose from, in order of preference;
    without any, the policy's. split: by default a control group of a tenth, with a salt of its own. scores: of all
    customers of the cohort, if they are known already. overwrite: replace an existing campaign. ledger, budget: lines
    and `money` and `value` of the campaign that is replaced. Nothing is written before everything is known to be valid.
    """
    folder, out = RunFolder(Path(run)), Path(out)
    if (out / FILE).exists() and not overwrite:
        raise DataError(f"{out}: a campaign of this name exists; choose another --out, or replace it with --overwrite")
    split = split or Split(salt=secrets.token_hex(4))
    source = Path(cohort or folder.about()["cohort"])
    about_cohort = describe(source)
    policy, offers = _with_offers(policy or Policy(), offers)
    catalogue = plan_catalogue(folder, policy)
    actions = Actions.of(catalogue, folder.encoder(), offers)
    first_part = part(source, 0)
    moment = planning_moment(first_part)
    mandatory = [offer.action for offer in offers if offer.mandatory]
    rules = checked(tuple(rules))
    need_valid(rules, first_part, actions, moment, mandatory)
    wanted = [offer.action for offer in offers] or list(policy.retention_actions)
    ordered = sorted(wanted, key=lambda action: action not in mandatory)
    funnel = Funnel(rules, actions)
    last_days = last_moment_days(about_cohort)
    scorer = _Scorer(folder, scores, last_days if moment is None else None, device, threads)
    with new_folder(out, FILE) as made:
        extra = _Extra()
        # Labels may repeat, so a column is named by its place as well.
        names = [f"{k}:{label}" for k, label in enumerate(actions.labels)]
        schema = pa.schema([(ROW, pa.int64()), *((name, pa.uint8()) for name in names)])

        def stream() -> Iterator[CustomerScores]:
            done = 0
            with TableWriter(made / "dropped.parquet") as writer:
                for customers in parts(source):
                    scored, arrays = scorer.score(customers, done)
                    verdicts = judge(customers, rules, actions, moment, scored.churn_p, last_days)
                    funnel.add(verdicts)
                    writer.write(_dropped(verdicts.code, done, schema))
                    extra.add(customers, moment)
                    yield scorer.within_rules(customers, scored, arrays, verdicts.code != ALLOWED)
                    done += customers.n_customers
                    if progress is not None:
                        progress(done, about_cohort["customers"])

        write_scores(made / "scores.parquet", stream(), key="campaign")
        about: dict[str, Any] = {
            "format": FORMAT,
            "name": out.name,
            "created_at": now(),
            "run": str(absolute(folder.folder)),
            "run_id": folder.run_id,
            "cohort": about_cohort["name"],
            "cohort_folder": str(absolute(source)),
            "cohort_hash": digest(source),
            "trained_on_cohort_hash": folder.about()["cohort_hash"],
            "moment": about_cohort["as_of"] if moment is not None else about_cohort["last_timestamp"],
            "policy": policy.to_dict(),
            "rules": [rule.to_dict() for rule in rules],
            "offers": [offer.to_dict() for offer in offers],
            "candidates": [catalogue.code(action) for action in ordered],
            "mandatory": [catalogue.code(action) for action in mandatory],
            "split": split.to_dict(),
            "covariates": ["churn_probability", "n_events", *(["value_before"] if extra.has_values else [])],
            "budget": None,
            "funnel": funnel.to_dict(),
            "actions": {
                "names": list(actions.names),
                "labels": list(actions.labels),
                "kinds": list(actions.kinds),
                "channels": list(actions.channels),
                "once": actions.once.tolist(),
            },
            "catalogue": {
                "n_actions": catalogue.n_actions,
                "fallback": list(catalogue.fallback),
                "fallback_p": list(catalogue.fallback_p),
            },
            "decoded_again": scorer.decoded_again,
            "notes": list(folder.about()["notes"]),
            "versions": versions(),
        }
        write_decisions(Campaign(made, about), made / DECISIONS, value_before=extra.values)
        if ledger:
            (made / "ledger.jsonl").write_text(ledger, encoding="utf-8")
        write_record(made / FILE, about)
        if budget is not None:
            spend(Campaign.load(made), money=budget["money"], value=budget["value"])
    return Campaign.load(out)


def remake(campaign: Campaign, scores: CustomerScores | None = None, **changes: Any) -> Campaign:
    """The campaign with other rules, offers, policy or split (`changes`), in the same folder; its ledger stays.

    A budget is spent again, by the stated success rates. Raises `ConfigError` once it was exported or read: what was
    sent is measured as decided.
    """
    kept: dict[str, Any] = {"policy": campaign.policy, "rules": campaign.rules, "offers": campaign.offers}
    file = campaign.folder / "ledger.jsonl"
    with exclusive(campaign.folder):
        if is_fixed(campaign):
            raise ConfigError(
                f"{campaign.name} was exported or read already, so its rules and groups stay; make a new one"
            )
        return new(
            campaign.about["run"],
            campaign.folder,
            cohort=campaign.about["cohort_folder"],
            **(kept | {"split": campaign.split} | changes),
            scores=scores,
            overwrite=True,
            ledger=file.read_text(encoding="utf-8") if file.exists() else "",
            budget=campaign.about["budget"],
        )


def _with_offers(policy: Policy, offers: Sequence[Offer]) -> tuple[Policy, tuple[Offer, ...]]:
    """The policy with the offers as its retention actions, filled up with its own to the three that it needs."""
    offers = tuple(offers)
    names = [offer.action for offer in offers]
    if len(set(names)) < len(names):
        raise ConfigError(f"expected each action once among the offers, found {', '.join(names)}")
    if not offers:
        return policy, offers
    others = [action for action in policy.retention_actions if action not in names]
    return replace(policy, retention_actions=(*names, *others)), offers


class _Scorer:
    """Scores of the parts of a cohort, known already or from the models, which are loaded only if needed."""

    def __init__(
        self,
        run: RunFolder,
        scores: CustomerScores | None,
        now_days: float | None,
        device: str,
        threads: int | None,
    ) -> None:
        self._run, self._scores, self._now_days = run, scores, now_days
        self._load: dict[str, Any] = {"device": device, "threads": threads}
        self._models: Models | None = None
        self.decoded_again = 0

    @property
    def models(self) -> Models:
        """The models of the run."""
        if self._models is None:
            from crm_models.runs.trained import load_models

            self._models = load_models(self._run, **self._load)
        return self._models

    def score(self, customers: Cohort, first: int) -> tuple[CustomerScores, CohortArrays | None]:
        """Scores of a part whose first customer is at row `first`, and its arrays if they were needed."""
        if self._scores is None:
            arrays = self._encode(customers)
            return self.models.score_encoded(arrays), arrays
        scored = self._scores.take(np.arange(first, first + customers.n_customers))
        if list(scored.customer_id) != customers.customers[CUSTOMER_ID].tolist():
            raise DataError("expected the scores of this cohort's customers in their order, found others; score again")
        return scored, None

    def within_rules(
        self, customers: Cohort, scored: CustomerScores, arrays: CohortArrays | None, dropped: np.ndarray
    ) -> CustomerScores:
        """The scores with plans that hold no dropped action."""
        if scored.plans is None:
            return scored
        planned = scored.plans.actions
        hit = np.take_along_axis(dropped, (planned - 1).clip(min=0), axis=1) & (planned > 0)
        rows = np.flatnonzero(hit.any(axis=1))
        if not len(rows) or self.models.sequence is None:
            return scored
        from crm_models.inference.decoding import decode_plans

        arrays = self._encode(customers) if arrays is None else arrays
        encoder = self.models.encoder
        again = decode_plans(self.models.sequence, arrays, encoder, rows, dropped=dropped[rows][:, : encoder.n_actions])
        self.decoded_again += len(rows)
        merged = {}
        for name, values in vars(scored.plans).items():
            merged[name] = values.copy()
            merged[name][rows] = getattr(again, name)
        return replace(scored, plans=replace(scored.plans, **merged))

    def _encode(self, customers: Cohort) -> CohortArrays:
        return self.models.encoder.encode(customers, planning_moment(customers), self._now_days)


def _dropped(code: np.ndarray, first: int, schema: pa.Schema) -> pa.Table:
    """The customers of a part for whom something was dropped; first: row in the cohort of the first of the part."""
    rows = np.flatnonzero((code != ALLOWED).any(axis=1))
    columns = [pa.array(rows + first), *(pa.array(np.ascontiguousarray(column)) for column in code[rows].T)]
    return pa.Table.from_arrays(columns, schema=schema)


class _Extra:
    """What the reading adjusts for beside the scores: the value of each customer's past events, where there are any."""

    def __init__(self) -> None:
        self._sums: list[np.ndarray] = []
        self.has_values = False

    def add(self, customers: Cohort, moment: Any) -> None:
        """Add the customers of a part."""
        value = customers.interactions[VALUE].to_numpy()
        counted = customers.is_history(moment) & np.isfinite(value)
        self.has_values |= bool(counted.any())
        weights = value[counted]
        self._sums.append(np.bincount(customers.event_customers[counted], weights, minlength=customers.n_customers))

    @property
    def values(self) -> np.ndarray:
        """(N,) sum of the values of each customer's past events."""
        return np.concatenate(self._sums)
