"""What a campaign holds before it is sent: customers by arm, funnel of the rules, cost, power of the reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.split import ARMS, detectable


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Counts of a campaign. by_arm: customers by arm. contacts: customers who get a retention action; cost: of all.

    expected_share: share of the targeted customers expected to stay without the campaign, from the churn model; NaN if
    unknown. detectable: the smallest rise of it that the reading finds with a power of 80 %, NaN if none. confident:
    targeted customers for whom several trainings agree; None if that is not known.
    """

    customers: int
    at_risk: int
    by_arm: dict[str, int]
    contacts: int
    cost: float
    expected_share: float
    detectable: float
    confident: int | None = None

    @property
    def targeted(self) -> int:
        """Customers whom the campaign is for, the control group included."""
        return self.customers - self.by_arm["none"]

    def sentence(self) -> str:
        """The counts in one sentence."""
        return (
            f"{self.customers:,} customers, {self.at_risk:,} at risk, {self.targeted:,} targeted: "
            f"{self.by_arm['plan']:,} get the plan, {self.by_arm['holdout']:,} are the control group"
            + (f", {self.by_arm['explore']:,} explore" if self.by_arm["explore"] else "")
        )

    def power_sentence(self) -> str:
        """What the reading will be able to tell, in one sentence."""
        if self.by_arm["holdout"] == 0:
            return "Without a control group, the effect of the campaign cannot be measured."
        if not np.isfinite(self.detectable):
            return "With so few customers, no effect of any size is likely to be proven."
        return (
            f"A rise from {self.expected_share:.1%} by {self.detectable * 100:.1f} points or more will be proven four "
            "times out of five; smaller effects will often stay unproven."
        )


def facts(campaign: Campaign) -> Facts:
    """The counts of a campaign, from its decisions."""
    table = campaign.decisions(["arm", "at_risk", "churn_probability", "action", "cost", "confident"])
    arm = table["arm"].to_numpy()
    by_arm = {name: int((arm == name).sum()) for name in ARMS}
    risk = table["churn_probability"].to_numpy()[arm != "none"]
    known = risk[~np.isnan(risk)]
    stays = 1 - float(known.mean()) if len(known) else float("nan")
    smallest = detectable(by_arm["holdout"], by_arm["plan"], stays) if len(known) else float("nan")
    sure = table["confident"][arm != "none"]
    return Facts(
        customers=len(table),
        at_risk=int(table["at_risk"].sum()),
        by_arm=by_arm,
        contacts=int((table["action"] != "").sum()),
        cost=float(table["cost"].sum()),
        expected_share=stays,
        detectable=smallest,
        confident=int(sure.sum()) if sure.notna().any() else None,
    )


def report_lines(campaign: Campaign) -> Iterator[str]:
    """The check of a campaign as lines of text: counts, power, each rule with its funnel, warnings."""
    found = facts(campaign)
    yield found.sentence()
    if found.cost:
        yield f"Cost of all contacts: {found.cost:,.2f}."
    yield found.power_sentence()
    if found.confident is not None:
        yield f"Several trainings agree on the plans of {found.confident:,} of {found.targeted:,} targeted customers."
    drops = campaign.about["funnel"]["drops"]
    for rule in campaign.rules:
        yield f"{rule.name}: {rule.sentence()}"
        for drop in drops:
            if drop["rule"] == rule.name:
                yield (
                    f"  {drop['action']}: dropped first for {drop['dropped_first']:,}, would come back for "
                    f"{drop['would_come_back']:,} without this rule"
                )
    yield from (f"note: {note}" for note in (*campaign.about["notes"], *campaign.about["funnel"]["warnings"]))
