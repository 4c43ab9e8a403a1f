"""Plans made part by part are the same, byte for byte, however many processes make them, and if one is killed."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from crm_models import workflow
from crm_models.campaigns import making
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.rules import Rule
from crm_models.campaigns.split import Split
from crm_models.cli.commands import main
from crm_models.core.engines import InProcess
from crm_models.core.errors import DataError, RunError
from crm_models.core.local_engine import LocalProcesses
from crm_models.data import storage
from crm_models.planning import Policy
from crm_models.planning.export import ExportSettings
from crm_models.runs.planning import Planner, PlanningJob, plan_part, plan_parts
from crm_models.runs.scoring import ScoringJob
from tests.core.test_engines import PickledEngine

PARTS = 4
POLICY = Policy(threshold=0.2, mode="graded")
SETTINGS = ExportSettings(run_id="run", scored_at="2026-11-26T00:00:00+00:00", layout="long")


def small_parts(root: Path) -> None:
    """A run, and the cohort `cohort` whose folder has four parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "PART_CUSTOMERS", 25)
        workflow.generate(root / "cohort", scenario="lifelike", customers=90, seed=1)
    list(workflow.train(root / "cohort", root / "run", workflow.run_config(preset="paper", epochs=1, threads=1)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("planned")
    small_parts(root)
    return root


@dataclass(frozen=True, kw_only=True)
class DyingJob(PlanningJob):
    """Ends its process at its first try of part 1, when the file of the part is written already."""

    mark: Path

    def open(self, threads: int | None) -> Planner:
        planner = super().open(threads)
        work = planner.work

        def work_and_die(k, read):
            planned = work(k, read)
            if k == 1 and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return planned

        planner.work = work_and_die
        return planner


def job(root: Path, kind: type[PlanningJob] = PlanningJob, **more) -> PlanningJob:
    scoring = ScoringJob(run=str(root / "run"), cohort=str(root / "cohort"), device="cpu")
    return kind(scoring=scoring, policy=POLICY, settings=SETTINGS, into="", drivers=True, **more)


def test_this_process_and_others_of_which_one_is_killed_write_the_same_bytes(made, tmp_path):
    seen = []
    one = plan_parts(job(made), PARTS, InProcess(1), tmp_path / "one.csv", {}, seen.append)
    assert (seen, one["counts"]["customers"], one["computed"]["parts"]) == ([25, 50, 75, 90], 90, PARTS)
    dying = job(made, DyingJob, mark=tmp_path / "died")
    two = plan_parts(dying, PARTS, LocalProcesses(1), tmp_path / "two.csv", {})
    assert (tmp_path / "died").exists()
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert (two["counts"], two["csv_sha256"]) == (one["counts"], one["csv_sha256"])
    names = {"died", "one.csv", "one.manifest.json", "two.csv", "two.manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == names  # no part is left


def test_the_files_of_the_parts_are_the_plans(made, tmp_path):
    planned = [
        plan_part(made / "run", made / "cohort", k, POLICY, into=tmp_path / "parts", settings=SETTINGS)
        for k in (2, 0, 3, 1, 2)  # in any order, and one of them twice
    ]
    assert (planned[0].name, planned[0].written) == (planned[-1].name, planned[-1].written)
    assert sum(p.written.counts["customers"] for p in planned[1:]) == 90
    plan_parts(job(made), PARTS, InProcess(1), tmp_path / "plans.csv", {})
    rows = (tmp_path / "plans.csv").read_text().splitlines()
    files = sorted((tmp_path / "parts").iterdir())
    without_drivers = [line for file in files for line in file.read_text().splitlines()]
    assert [line.split(",driver_")[0] for line in rows[:1]] == without_drivers[:1]
    assert all(row.startswith(line) for row, line in zip(rows[1:], without_drivers[1:], strict=True))


def test_what_an_engine_cannot_do_is_said(made, tmp_path, capsys, monkeypatch):
    plan = ["plan", str(made / "run"), "--quiet", "--out", str(tmp_path / "p.csv")]
    assert main([*plan, "--address", "head:6379"]) == 2
    assert capsys.readouterr().err.startswith("error: an address is that of a Ray cluster and needs the engine ray")
    assert main(["explain", str(made / "run"), "--workers", "2"]) == 2
    assert (
        "explain the risk of all customers into a file: give --out, and neither --customer nor --steps"
        in capsys.readouterr().err
    )
    with pytest.raises(DataError, match="expected a part from 0 to 3, found 4"):
        plan_part(made / "run", made / "cohort", 4, POLICY, into=tmp_path / "parts")
    monkeypatch.setattr("crm_models.core.ray_engine.ray", None)
    assert main([*plan, "--engine", "ray"]) == 2
    assert "pip install -r requirements-ray.txt" in capsys.readouterr().err


def test_plans_of_a_machine_that_shares_no_storage_or_has_other_versions_are_refused(made, tmp_path, monkeypatch):
    class Elsewhere(InProcess):
        def results(self, job, n):
            for planned in super().results(job, n):
                (Path(job.into) / planned.name).unlink()
                yield planned

    with pytest.raises(RunError, match="written on another machine; write --out to storage that all machines share"):
        plan_parts(job(made), PARTS, Elsewhere(1), tmp_path / "plans.csv", {})
    monkeypatch.setattr("crm_models.runs.planning.versions", lambda: {"torch": "1.0"})
    monkeypatch.setattr("crm_models.core.provenance.versions", lambda: {"torch": "2.13.0"})
    with pytest.raises(RunError, match=r"part-000000.csv: .* found torch 1.0 on one and 2.13.0 here"):
        plan_parts(job(made), PARTS, InProcess(1), tmp_path / "plans.csv", {})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def no_process_starts(monkeypatch):
    monkeypatch.setattr("crm_models.core.local_engine.LocalProcesses", PickledEngine)


def test_a_report_is_the_same_from_one_process_and_two(made, no_process_starts):
    alone, in_two = (workflow.evaluate(made / "run", workers=workers) for workers in (1, 2))
    assert in_two == alone
    assert alone["sequence"]["customers"] > 10


def test_a_campaign_is_the_same_from_one_process_and_two(made, tmp_path, no_process_starts):
    block = Rule(name="no mails", kind="block", actions=("Send a newsletter", "Ask for a review"))
    for workers in (1, 2):
        making.new(made / "run", tmp_path / str(workers), rules=[block], split=Split(salt="a"), workers=workers)
    alone, in_two = (Campaign.load(tmp_path / str(workers)) for workers in (1, 2))
    pd.testing.assert_frame_equal(in_two.decisions(), alone.decisions())
    assert in_two.about["funnel"] == alone.about["funnel"]
    assert alone.about["decoded_again"] == in_two.about["decoded_again"] > 0
