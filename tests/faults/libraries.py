"""What the children of the campaigns load, once for all of them."""

from importlib import import_module

for name in ("campaigns.report", "runs.explaining", "upkeep.backup", "upkeep.checking", "cli.commands"):
    import_module(f"crm_models.{name}")
import_module("dashboard.jobs.command").load_libraries()
