"""Report of a campaign: one file without the network, with what was decided and read, and no markup from data."""

import dataclasses
import re

from crm_models.campaigns.budgeting import fund
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.making import remake
from crm_models.campaigns.report import page
from crm_models.campaigns.rules import Rule
from crm_models.campaigns.simulation import simulate


def test_an_empty_a_partial_and_a_finished_campaign_are_reported(campaign):
    text = page(campaign)
    assert "Not read yet." in text
    assert "Nobody has approved this campaign." in text
    campaign = fund(campaign, money=100.0)
    assert "The next 100 of budget would bring" in page(campaign)
    result = simulate(campaign)
    text = page(campaign)
    assert f"in truth the effect is {100 * result['truth']['difference']:+.1f} points" in text
    assert f"{100 * result['difference']['value']:,.4g}" in text
    assert "best possible targeting" in text
    assert campaign.about["cohort_hash"] in text
    assert not re.search(r"(src|href)=", text)


def test_names_from_data_are_text_not_markup(campaign):
    nasty = Rule(name="<b>x</b>", kind="block", actions=("Call the customer",))
    split = dataclasses.replace(campaign.split, metric="<i>m</i>", salt="<u>")
    text = page(remake(campaign, rules=(nasty,), split=split))
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    simulate(Campaign.load(campaign.folder))
    assert "<i>m</i>" not in page(Campaign.load(campaign.folder))
