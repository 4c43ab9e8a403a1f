"""Campaigns: from a prediction to a campaign that is sent and measured; `folder` says what its files are.

>>> from crm_models import campaigns
>>> campaign = campaigns.new("workspace/run", "workspace/spring", split=campaigns.Split(salt="spring", holdout=0.4))
>>> campaign = campaigns.fund(campaign, money=500, value=100)
>>> approved = campaigns.approve(campaign, "ann")
>>> manifest = campaigns.export(campaign, "workspace/braze.csv", campaigns.ExportOptions(preset="braze"))
>>> manifest["counts"]["rows"], manifest["approved_by"]
(60, 'ann')
>>> reading = campaigns.simulate(campaign)  # or: campaigns.keep(campaign, campaigns.read_outcomes("outcomes.csv"))
>>> campaigns.summary(reading)
'Retained: ...'
"""

from crm_models.campaigns.budgeting import fund as fund
from crm_models.campaigns.exporting import export as export
from crm_models.campaigns.folder import Campaign as Campaign
from crm_models.campaigns.learning import learn as learn
from crm_models.campaigns.ledger import approve as approve
from crm_models.campaigns.loaded import confirm as confirm
from crm_models.campaigns.making import new as new
from crm_models.campaigns.offers import Offer as Offer
from crm_models.campaigns.offers import read_offers as read_offers
from crm_models.campaigns.presets import ExportOptions as ExportOptions
from crm_models.campaigns.reading import keep as keep
from crm_models.campaigns.reading import read_outcomes as read_outcomes
from crm_models.campaigns.reading import summary as summary
from crm_models.campaigns.report import write_report as write_report
from crm_models.campaigns.rules import Condition as Condition
from crm_models.campaigns.rules import Rule as Rule
from crm_models.campaigns.rules import read_rules as read_rules
from crm_models.campaigns.simulation import simulate as simulate
from crm_models.campaigns.split import Split as Split
