"""A campaign from a run: every customer scored, the rules applied, a control group drawn, and the folder written."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.campaigns.budgeting import spend
from crm_models.campaigns.deciding import write_decisions
from crm_models.campaigns.folder import DECISIONS, FILE, ROW, Campaign, need_as_seen
from crm_models.campaigns.judged_parts import JudgedPart, JudgingJob
from crm_models.campaigns.judging import ALLOWED, Funnel, need_valid
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
from crm_models.core.tables import TableWriter
from crm_models.data.drift import refuse
from crm_models.data.split import planning_moment
from crm_models.data.storage import Parts, describe, digest
from crm_models.inference.score_store import write_scores
from crm_models.planning.export import neutralised
from crm_models.planning.policy import Policy
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import ScoringJob, engine_for
from crm_models.runs.trained import differences, plan_catalogue

Progress = Callable[[int, int], None]

CONFIDENT = "confident"
"""Column of plans.csv: whether several trainings agree on the plan."""


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
    several trainings agree. allow_drift: also for customers too different from the training customers. overwrite:
    replace an existing campaign. engine, workers, address: as for `workflow.plan`. before: the campaign that is made
    again; its ledger, budget and `confident` stay. who: makes it. Nothing is written before everything is known to be
    valid.
    """
    folder, out = RunFolder(Path(run)), Path(out)
    if (out / FILE).exists() and not overwrite:
        raise DataError(f"{out}: a campaign of this name exists; choose another --out, or replace it with --overwrite")
    split = split or Split(salt=secrets.token_hex(4))
    source = Path(cohort or folder.about()["cohort"])
    about_cohort = describe(source)
    drift = differences(folder, source)
    if not allow_drift:
        refuse(drift, source)
    policy, offers = _with_offers(policy or Policy(), offers)
    catalogue = plan_catalogue(folder, policy)
    actions = Actions.of(catalogue, folder.encoder(), offers)
    cohort_parts = Parts(source)
    first_part = cohort_parts[0]
    moment = planning_moment(first_part)
    mandatory = [offer.action for offer in offers if offer.mandatory]
    rules = checked(tuple(rules))
    need_valid(rules, first_part, actions, moment, mandatory)
    wanted = [offer.action for offer in offers] or list(policy.retention_actions)
    ordered = sorted(wanted, key=lambda action: action not in mandatory)
    funnel = Funnel(rules, actions)
    job = JudgingJob(
        scoring=ScoringJob(
            run=address_of(folder.folder), cohort=address_of(source), allow_drift=allow_drift, device=device
        ),
        rules=rules,
        actions=actions,
        scores=scores,
    )
    n_parts = len(cohort_parts)
    chosen: Engine = InProcess(threads)
    if scores is None:
        chosen = engine_for(engine, n_parts, workers=workers, address=address, threads=threads, device=device)
    with doing(who, "campaign.make", f"campaigns/{out.name}"), new_folder(out, FILE) as made:
        judged = _said(chosen.results(job, n_parts), about_cohort["customers"], progress)
        value_before, has_values, decoded_again = _write_judged(made, judged, actions, funnel)
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
            "covariates": ["churn_probability", "n_events", *(["value_before"] if has_values else [])],
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
            "decoded_again": decoded_again,
            "notes": [*folder.about()["notes"], *(difference.text for difference in drift)],
            "drift": [difference.to_dict() for difference in drift],
            "versions": versions(),
        }
        campaign, confident = Campaign(made, about), None
        if plans is not None:
            confident = confident_of(Path(plans), campaign.risks()[0])
        elif before is not None and before.about["cohort_hash"] == about["cohort_hash"]:
            confident = before.decisions(["confident"])["confident"].array
        write_decisions(campaign, made / DECISIONS, value_before=value_before, confident=confident)
        if before is not None and (ledger := before.folder / "ledger.jsonl").exists():
            shutil.copyfile(ledger, made / "ledger.jsonl")
        write_record(made / FILE, about)
        if before is not None and (budget := before.about["budget"]) is not None:
            spend(Campaign.load(made), money=budget["money"], value=budget["value"])
    return Campaign.load(out)


def confident_of(plans: Path, customer_id: np.ndarray) -> Any:
    """(N,) of True, False and NA: the column `confident` of a plans.csv by customer. `DataError` if it has none."""
    try:
        table = pd.read_csv(plans, dtype="str", keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"{plans}: expected plans as CSV, found an unreadable file ({error})") from None
    for name in (CUSTOMER_ID, CONFIDENT):
        if name not in table:
            raise DataError(
                f"{plans}: expected the column {name}, found {', '.join(table.columns)}; plans have it where several "
                "trainings were compared"
            )
    words = {"true": True, "false": False, "": None}
    if (wrong := ~table[CONFIDENT].str.lower().isin(list(words))).any():
        row = int(wrong.argmax())
        raise DataError(
            f"{plans} row {row + 2}, column confident: expected true or false, found {table[CONFIDENT][row]!r}"
        )
    # A spreadsheet-safe file has an apostrophe before ids that start like a formula.
    ids = table[CUSTOMER_ID].map(lambda text: text[1:] if text[:1] == "'" and neutralised(text[1:]) == text else text)
    by_id = pd.Series(table[CONFIDENT].str.lower().map(words).to_numpy(), index=ids)
    by_id = by_id[~by_id.index.duplicated()]  # the long layout has a row for each step
    return by_id.reindex(customer_id).astype("boolean").array


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


def _said(judged: Iterable[JudgedPart], n: int, progress: Progress | None) -> Iterator[JudgedPart]:
    """The parts as they come; says how many of the n customers are done."""
    done = 0
    for part in judged:
        yield part
        done += len(part.scores.customer_id)
        if progress is not None:
            progress(done, n)


def _write_judged(
    folder: Path, judged: Iterable[JudgedPart], actions: Actions, funnel: Funnel
) -> tuple[np.ndarray, bool, int]:
    """Write the scores and what was dropped, part by part, and add it to the funnel.

    Returns the value of each customer's past events, whether any has one, and how many customers were decoded again.
    """
    # Labels may repeat, so a column is named by its place as well.
    names = [f"{k}:{label}" for k, label in enumerate(actions.labels)]
    layout = pa.schema([(ROW, pa.int64()), *((name, pa.uint8()) for name in names)])
    values: list[np.ndarray] = []
    counts = Counter[str]()

    def stream() -> Iterator[CustomerScores]:
        done = 0
        with TableWriter(folder / "dropped.parquet") as writer:
            for part in judged:
                funnel.add(part.verdicts)
                writer.write(_dropped(part.verdicts.code, done, layout))
                values.append(part.value_before)
                counts.update(has_values=part.has_values, decoded_again=part.decoded_again)
                yield part.scores
                done += len(part.scores.customer_id)

    write_scores(folder / "scores.parquet", stream(), key="campaign")
    return np.concatenate(values), bool(counts["has_values"]), counts["decoded_again"]


def _dropped(code: np.ndarray, first: int, schema: pa.Schema) -> pa.Table:
    """The customers of a part for whom something was dropped; first: row in the cohort of the first of the part."""
    rows = np.flatnonzero((code != ALLOWED).any(axis=1))
    columns = [pa.array(rows + first), *(pa.array(np.ascontiguousarray(column)) for column in code[rows].T)]
    return pa.Table.from_arrays(columns, schema=schema)
