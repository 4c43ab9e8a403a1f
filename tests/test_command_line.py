"""The command line: every command on good input, and one clear line with exit 2 on bad input, nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from crm_models.cli.commands import main
from crm_models.core import chain
from crm_models.runs.folder import RunFolder
from tests.refusals import refused

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cohorts") / "small"
    assert main(["generate", "--scenario", "lifelike", "--customers", "300", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def small_run(small_cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", str(small_cohort), "--out", str(folder), "--epochs", "2", "--quiet"]) == 0
    return folder


# ---- good input ------------------------------------------------------------------------------------------------------


def test_generating_twice_with_one_seed_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        main(["generate", "--scenario", "lifelike", "--customers", "50", "--seed", "7", "--out", str(tmp_path / name)])
    for file in ("customers.parquet", "interactions.parquet", "actions.parquet", "truth.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_evaluate_prints_or_writes_the_contracts_report(small_run, tmp_path, capsys):
    assert main(["evaluate", str(small_run), "--out", str(tmp_path / "report.json")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(small_run)]) == 0
    report = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert report == {name: part for name, part in kept.items() if name != "checksum"}
    sequence = {"customers", "step_accuracy", "plan_accuracy", "loss", "hr_at_10", "ndcg_at_10"}
    churn = {"customers", "churn_rate", "accuracy", "auc", "average_precision", "log_loss", "brier", "ece"}
    assert sequence | {"chance", "baselines", "ceiling"} <= set(report["sequence"])
    assert churn | {"chance", "baselines", "ceiling"} <= set(report["churn"])
    assert {"popular", "markov"} <= set(report["sequence"]["baselines"])
    assert {"majority", "logistic"} <= set(report["churn"]["baselines"])


def test_plan_writes_one_row_per_customer_in_cohort_order(small_cohort, small_run, tmp_path):
    out = tmp_path / "plans.csv"
    assert main(["plan", str(small_run), "--threshold", "0.4", "--out", str(out), "--quiet"]) == 0
    plans = pd.read_csv(out, dtype={"customer_id": str})
    customers = pd.read_parquet(small_cohort / "customers.parquet")
    assert list(plans["customer_id"]) == list(customers["customer_id"])
    assert list(plans.columns[:7]) == [
        "customer_id",
        "churn_probability",
        "at_risk",
        "plan_source",
        "step_1_action",
        "step_1_source",
        "step_1_probability",
    ]
    assert (plans["at_risk"] == (plans["churn_probability"] > 0.4)).all()
    manifest = json.loads((tmp_path / "plans.manifest.json").read_text())
    assert manifest["counts"]["customers"] == 300
    assert manifest["counts"]["at_risk"] == int(plans["at_risk"].sum())


def test_deleting_the_truth_changes_no_plan(small_cohort, small_run, tmp_path):
    for name in ("with", "without"):
        assert (
            main(["plan", str(small_run), "--cohort", str(small_cohort), "--out", str(tmp_path / f"{name}.csv")]) == 0
        )
        (small_cohort / "truth.json").rename(tmp_path / "truth.json") if name == "with" else None
    (tmp_path / "truth.json").rename(small_cohort / "truth.json")
    columns = ["customer_id", "churn_probability", "step_1_action", "step_2_action", "step_3_action"]
    one, two = (pd.read_csv(tmp_path / f"{name}.csv")[columns] for name in ("with", "without"))
    pd.testing.assert_frame_equal(one, two)


def test_permuting_the_customers_permutes_the_plans(small_cohort, small_run, tmp_path):
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in small_cohort.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    table = pd.read_parquet(moved / "customers.parquet").sample(frac=1, random_state=1)
    table.to_parquet(moved / "customers.parquet", index=False)
    for cohort, name in ((small_cohort, "plain"), (moved, "moved")):
        assert main(["plan", str(small_run), "--cohort", str(cohort), "--out", str(tmp_path / f"{name}.csv")]) == 0
    plain, other = (
        pd.read_csv(tmp_path / f"{n}.csv").set_index("customer_id").drop(columns="scored_at")
        for n in ("plain", "moved")
    )
    assert list(other.index) == list(table["customer_id"])
    pd.testing.assert_frame_equal(other.loc[plain.index], plain, atol=1e-6)


def test_what_a_run_cannot_do_is_said_by_every_command_after_it(tmp_path, capsys):
    rows = "".join(f"{k},{'yes' if k % 3 else 'no'},{k % 7}\n" for k in range(120))
    (tmp_path / "customers.csv").write_text("customer_id,churned,visits\n" + rows)
    cohort, run, out = (str(tmp_path / name) for name in ("cohort", "run", "plans.csv"))
    assert main(["import", "tables", str(tmp_path / "customers.csv"), "--out", cohort]) == 0
    assert main(["check", cohort]) == 0
    assert "plans are retention actions for customers at risk, else empty" in capsys.readouterr().out
    assert main(["train", cohort, "--out", run, "--epochs", "1"]) == 0
    left_out = "the sequence model was left out: the sequence model needs interactions, and the cohort has none"
    assert left_out in capsys.readouterr().out
    assert main(["evaluate", run, "--out", str(tmp_path / "report.json")]) == 0
    assert "no sequence scores, churn AUC" in capsys.readouterr().out
    assert main(["plan", run, "--threshold", "1", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "120 plans, 0 customers at risk, 120 plans are empty, because there is no action to propose" in said
    assert left_out in said
    assert json.loads((tmp_path / "plans.manifest.json").read_text())["as_of"] is None


def test_a_reader_that_has_seen_enough_is_no_error(small_cohort):
    command = f"{sys.executable} -m crm_models check {small_cohort} | true; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_same_seed_trains_the_same_numbers(small_cohort, tmp_path):
    losses = []
    for name in ("a", "b"):
        main(["train", str(small_cohort), "--out", str(tmp_path / name), "--epochs", "1", "--quiet", "--seed", "5"])
        lines = (tmp_path / name / "events.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["train_loss"] for line in lines if '"epoch"' in line and "train_loss" in line])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3  # one epoch of each model, and the refit
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (
        tmp_path / "b" / "weights.safetensors"
    ).read_bytes()


def test_a_setting_can_be_changed_by_name(small_cohort, tmp_path):
    out = tmp_path / "run"
    arguments = ["--set", "sequence.d_model=16", "--set", "churn_training.learning_rate=0.01", "--epochs", "1"]
    assert main(["train", str(small_cohort), "--out", str(out), "--quiet", *arguments]) == 0
    config = json.loads((out / "config.json").read_text())["config"]
    assert (config["sequence"]["d_model"], config["churn_training"]["learning_rate"]) == (16, 0.01)


# ---- bad usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice"),
        (["generate", "--scenario", "lifelike"], "--out"),
        (["generate", "--scenario", "real", "--out", "x"], "invalid choice"),
        (["generate", "--scenario", "movielens", "--events", "45", "--out", "x"], "movielens 0 to 40"),
        (["train", "x", "--split", "random", "--split-date", "2026-01-01", "--out", "y"], "needs split=time"),
        (["stability", "nowhere"], "expected a run folder, found nothing"),
        (["stability", "nowhere", "--seeds", "1"], "at least 2"),
        (["generate", "--scenario", "paper", "--signal", "2", "--out", "x"], "from 0 to 1"),
        (["generate", "--scenario", "paper", "--signal", "nan", "--out", "x"], "from 0 to 1"),
        (["generate", "--scenario", "paper", "--customers", "0", "--out", "x"], "of at least 1"),
        (["generate", "--scenario", "paper", "--customers", "many", "--out", "x"], "whole number"),
        (["import", "excel", "x", "--out", "y"], "invalid choice"),
        (["train", "--out", "x"], "COHORT"),
        (["train", "x"], "--out"),
        (["plan", "x", "--threshold", "1.5", "--out", "y"], "from 0 to 1"),
        (["plan", "x", "--mode", "nudge", "--out", "y"], "invalid choice"),
        (["plan", "x", "--mode", "graded", "--intensity", "nan", "--out", "y"], "intensity"),
        (["plan", "x", "--retention", "Call", "--out", "y"], "retention"),
        (["benchmark", "clicks", "x"], "invalid choice"),
        (["benchmark", "churn", "x", "--folds", "1"], "of at least 2"),
        (["paper", "--seeds", "0", "--out", "x"], "of at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_wrong_usage_is_one_line_and_exit_2(capsys, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    assert word in refused(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "check", "benchmark churn", "benchmark sequence"])
def test_a_cohort_that_is_not_there_is_named(capsys, tmp_path, command):
    out = ["--out", tmp_path / "out"] if command != "check" else []
    assert "none" in refused(capsys, *command.split(), tmp_path / "none", *out)
    assert not (tmp_path / "out").exists()


def test_a_run_or_a_report_never_takes_the_place_of_a_cohort_or_a_run(capsys, tmp_path, small_cohort, small_run):
    before = {f: f.read_bytes() for folder in (small_cohort, small_run) for f in folder.iterdir()}
    for overwrite in ([], ["--overwrite"]):
        assert "holds a cohort" in refused(capsys, "train", small_cohort, "--out", small_cohort, *overwrite)
    assert "holds a run" in refused(capsys, "generate", "--scenario", "paper", "--out", small_run)
    assert "holds a cohort" in refused(capsys, "paper", "--seeds", "1", "--out", small_cohort)
    assert "expected a file" in refused(capsys, "evaluate", small_run, "--out", tmp_path)
    assert "expected a file" in refused(capsys, "benchmark", "churn", small_cohort, "--out", tmp_path)
    assert {f: f.read_bytes() for folder in (small_cohort, small_run) for f in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == []


def without(file: Path, name: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != name}).encode()


def with_value(file: Path, name: str, value: object) -> bytes:
    return json.dumps(json.loads(file.read_text()) | {name: value}).encode()


DAMAGED_RUNS = {
    "weights cut off": ("weights.safetensors", lambda file: file.read_bytes()[:5000]),
    "weights of nobody": ("weights.safetensors", lambda file: bytes(range(256)) * 10),
    "weights of another shape": (
        "config.json",
        lambda file: file.read_bytes().replace(b'"d_model": 64', b'"d_model": 32'),
    ),
    "settings garbage": ("config.json", lambda file: b"\x00\xff" * 50),
    "settings of a list": ("config.json", lambda file: b"[1, 2]"),
    "settings without the cohort": ("config.json", lambda file: without(file, "cohort")),
    "brackets without end": ("config.json", lambda file: b"[" * 100_000),
    "encoder of something else": ("encoder.json", lambda file: b'{"x": 1}'),
    "follow-ups of no action": ("encoder.json", lambda file: with_value(file, "action_pairs", [[99, 1, 1]])),
    "follow-ups that are none": ("encoder.json", lambda file: with_value(file, "action_pairs", [["a", 1]])),
    "result without a state": ("result.json", lambda file: without(file, "state")),
    "split cut off": ("split.parquet", lambda file: file.read_bytes()[:100]),
}


@pytest.mark.parametrize("name", DAMAGED_RUNS)
def test_a_damaged_run_is_refused_by_file(capsys, tmp_path, small_run, name):
    file, damage = DAMAGED_RUNS[name]
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / file).write_bytes(damage(run / file))
    shown = "config.json" if name == "weights of another shape" else file
    assert shown in refused(capsys, "evaluate", run, "--out", tmp_path / "report.json")
    if file != "split.parquet":  # plans are for everybody, however the customers were split
        assert shown in refused(capsys, "plan", run, "--out", tmp_path / "plans.csv")
    assert [f.name for f in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("popular", [[[1]], [["x", 0.5]], 7, [[99, 0.5]]])
def test_a_damaged_list_of_popular_actions_is_refused(capsys, tmp_path, small_run, popular):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "config.json").write_bytes(with_value(run / "config.json", "popular", popular))
    assert "config.json" in refused(capsys, "plan", run, "--out", tmp_path / "plans.csv")
    assert [f.name for f in tmp_path.iterdir()] == ["run"]


def test_damaged_lines_of_progress_are_passed_over(capsys, tmp_path, small_run):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    with (run / "events.jsonl").open("ab") as handle:
        handle.write(b'\xff\xfe\x00\n[1]\n"x"\n5\n{"a": 1}\n{"event": "epoch"}\n{"event": "ep')
    assert main(["evaluate", str(run), "--out", str(tmp_path / "report.json")]) == 0


DAMAGED_COHORTS = {
    "customers cut off": ("customers.parquet", lambda file: file.read_bytes()[:3000]),
    "another table": ("customers.parquet", lambda file: (file.parent / "actions.parquet").read_bytes()),
    "interactions empty": ("interactions.parquet", lambda file: b""),
    "no facts": ("cohort.json", lambda file: b'{"format": 1}'),
    "a cut-off that is none": ("cohort.json", lambda file: file.read_bytes().replace(b'"as_of": "2', b'"as_of": "x')),
}


@pytest.mark.parametrize("name", DAMAGED_COHORTS)
def test_a_damaged_cohort_is_refused_by_every_command(capsys, tmp_path, small_cohort, small_run, name):
    file, damage = DAMAGED_COHORTS[name]
    cohort = tmp_path / "cohort"
    shutil.copytree(small_cohort, cohort)
    (cohort / file).write_bytes(damage(cohort / file))
    for command in (["check"], ["train", "--out", tmp_path / "run"], ["benchmark", "churn"]):
        assert f"{cohort}" in refused(capsys, *command, cohort)
    assert f"{cohort}" in refused(capsys, "plan", small_run, "--cohort", cohort, "--out", tmp_path / "plans.csv")
    assert f"{cohort}" in refused(capsys, "evaluate", small_run, "--cohort", cohort)
    assert [f.name for f in tmp_path.iterdir()] == ["cohort"]


def test_what_fails_before_training_leaves_no_run(capsys, tmp_path, small_cohort, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "no GPU" in refused(capsys, "train", small_cohort, "--out", tmp_path / "run", "--device", "cuda")
    assert list(tmp_path.iterdir()) == []


def test_an_import_never_replaces_its_own_source(capsys, tmp_path):
    labelled(tmp_path, 30, [0, 1])
    (tmp_path / "cohort.json").write_text("{}")
    assert "would replace" in refused(capsys, "import", "tables", tmp_path, "--out", tmp_path)
    assert (tmp_path / "customers.csv").exists()


@pytest.mark.parametrize("moment", ["soon", "2026-13-01", "nat", ""])
def test_a_moment_that_is_none_is_refused(capsys, tmp_path, small_run, moment):
    assert "--as-of" in refused(capsys, "plan", small_run, "--as-of", moment, "--out", tmp_path / "plans.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "setting", ["sequence=3", "churn_training=none", "nothing=1", "sequence.nothing=1", "seed.x=1"]
)
def test_a_setting_that_is_none_is_refused(capsys, tmp_path, small_cohort, setting):
    line = refused(capsys, "train", small_cohort, "--out", tmp_path / "run", "--set", setting)
    assert f"there is no setting '{setting.partition('=')[0]}'" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "plan"])
def test_a_run_that_is_not_there_is_named(capsys, tmp_path, command):
    assert "run folder" in refused(capsys, command, tmp_path / "none", "--out", tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


BAD_TABLES = {
    "empty file": b"",
    "header only": b"customer_id,churned,age\n",
    "binary garbage": bytes(range(256)) * 20,
    "doubled column": b"customer_id,churned,churned\na,1,1\n",
    "label with three values": b"customer_id,churned,age\na,yes,1\nb,no,2\nc,maybe,3\n",
    "doubled customer": b"customer_id,churned,age\na,1,1\na,0,2\n",
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_customer_table_is_refused_in_one_line_and_leaves_nothing(capsys, tmp_path, name):
    source = tmp_path / "in"
    source.mkdir()
    (source / "customers.csv").write_bytes(BAD_TABLES[name])
    assert "customers.csv" in refused(capsys, "import", "tables", source, "--out", tmp_path / "out")
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("stamp", ["soon", "nan", "inf", "2026-02-30", ""])
def test_a_date_that_is_none_is_refused_by_file_row_and_column(capsys, tmp_path, stamp):
    (tmp_path / "interactions.csv").write_text(
        f"customer_id,action,timestamp\na,call,2026-01-01\nb,mail,{stamp}\nc,mail,2026-01-03\n"
    )
    line = refused(capsys, "import", "tables", tmp_path, "--out", tmp_path / "out")
    assert "interactions.csv" in line
    assert "timestamp" in line
    assert not (tmp_path / "out").exists()


def labelled(tmp_path: Path, n: int, churned: list[int]) -> Path:
    """A folder with n customers whose labels repeat `churned`."""
    rows = "".join(f"c{i},{churned[i % len(churned)]},{18 + i * 7 % 60}\n" for i in range(n))
    (tmp_path / "customers.csv").write_text("customer_id,churned,age\n" + rows)
    return tmp_path


@pytest.mark.parametrize(
    ("n", "churned", "word"), [(1, [1], "at least 20"), (10, [0, 1], "at least 20"), (60, [1], "one class only")]
)
def test_too_few_customers_or_one_class_cannot_be_trained(capsys, tmp_path, n, churned, word):
    cohort = tmp_path / "cohort"
    assert main(["import", "tables", str(labelled(tmp_path, n, churned)), "--out", str(cohort), "--quiet"]) == 0
    capsys.readouterr()
    assert word in refused(capsys, "train", cohort, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_the_data_cannot_train_is_refused_when_asked_for_and_left_out_otherwise(capsys, tmp_path):
    cohort = tmp_path / "cohort"
    main(["import", "tables", str(labelled(tmp_path, 120, [0, 1, 0])), "--out", str(cohort), "--quiet"])
    capsys.readouterr()
    line = refused(capsys, "train", cohort, "--out", tmp_path / "run", "--model", "sequence")
    assert "needs interactions" in line
    assert main(["train", str(cohort), "--out", str(tmp_path / "run"), "--epochs", "1", "--quiet"]) == 0
    report = tmp_path / "report.json"
    assert main(["evaluate", str(tmp_path / "run"), "--out", str(report)]) == 0
    assert json.loads(report.read_text())["sequence"] is None
    assert main(["plan", str(tmp_path / "run"), "--out", str(tmp_path / "plans.csv"), "--quiet"]) == 0
    assert set(pd.read_csv(tmp_path / "plans.csv")["plan_source"]) <= {"fallback", "override"}


def test_an_existing_run_is_not_overwritten_by_accident(capsys, small_cohort, small_run):
    assert "holds a run already" in refused(capsys, "train", small_cohort, "--out", small_run)
    assert "nothing to resume" in refused(capsys, "train", "--resume", "--out", small_run)


def test_a_folder_with_other_files_is_never_replaced(capsys, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "holds other files" in refused(capsys, "generate", "--scenario", "paper", "--out", tmp_path)
    assert (tmp_path / "letter.txt").exists()


def test_a_path_that_cannot_be_written_is_named(capsys, tmp_path, small_run):
    (tmp_path / "file").write_text("")
    assert "file" in refused(capsys, "generate", "--scenario", "paper", "--out", tmp_path / "file" / "cohort")
    assert "file" in refused(capsys, "plan", small_run, "--quiet", "--out", tmp_path / "file" / "plans.csv")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_not_replaced_by_plans(capsys, small_run):
    assert "expected a file" in refused(capsys, "plan", small_run, "--quiet", "--out", "/dev/full")
    assert not Path("/dev/full").is_file()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_written(small_cohort, tmp_path):
    """A file-size limit stands in for a full disk: the kernel refuses the write in the same place."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "from crm_models.cli.commands import main\n"
        "given = ['generate', '--scenario', 'lifelike', '--customers', '5000']\n"
        f"sys.exit(main([*given, '--out', {str(tmp_path / 'c')!r}]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training_is_one_plain_line_and_the_run_says_that_it_failed(small_cohort, tmp_path):
    run = tmp_path / "run"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from crm_models.cli.commands import main\n"
        f"sys.exit(main(['train', {str(small_cohort)!r}, '--out', {str(run)!r}, '--epochs', '1', '--quiet']))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 2
    assert len(ran.stderr.strip().splitlines()) == 1
    assert ran.stderr.startswith(f"error: expected to read or write here, found: {os.strerror(errno.EFBIG)}")
    assert RunFolder(run).status().state == "failed"
    assert not (run / "weights.safetensors").exists()
    assert not list(run.glob(".*"))


@pytest.mark.slow
def test_a_killed_training_is_told_from_a_running_one_and_resumes_to_the_same_numbers(small_cohort, tmp_path):
    def arguments(out: Path) -> list[str]:
        own = ["train", str(small_cohort), "--out", str(out), "--epochs", "4"]
        return [*own, "--set", "sequence_training.patience_epochs=99", "--set", "churn_training.patience_epochs=99"]

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*arguments(whole), "--quiet"]) == 0
    command = [sys.executable, "-m", "crm_models", *arguments(killed)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        for line in process.stderr:
            if line.startswith("churn") and "2/4" in line:
                process.kill()
                break
    from crm_models.runs.folder import RunFolder

    assert RunFolder(killed).status().state == "interrupted"
    assert main(["evaluate", str(killed)]) == 2
    assert main(["train", "--resume", "--out", str(killed), "--quiet"]) == 0
    one, two = RunFolder(whole).status(), RunFolder(killed).status()
    assert two.state == "finished"
    key = lambda e: (e.model, e.epoch, e.train_loss, e.valid_loss, e.best)  # noqa: E731
    assert sorted(map(key, one.epochs)) == sorted(map(key, two.epochs))
    assert (whole / "weights.safetensors").read_bytes() == (killed / "weights.safetensors").read_bytes()


# ---- the audit log ---------------------------------------------------------------------------------------------------


def test_commands_on_the_workspace_of_a_team_are_in_its_log_by_the_users_name(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("getpass.getuser", lambda: "ops")
    generate = ["generate", "--scenario", "paper", "--customers", "20", "--out"]
    assert main([*generate, str(tmp_path / "cohorts" / "before")]) == 0
    assert not (tmp_path / "audit.jsonl").exists()
    (tmp_path / "roles.toml").write_text("[roles]\n")
    assert main([*generate, str(tmp_path / "cohorts" / "after")]) == 0
    assert main(["import", "tables", str(tmp_path / "none.csv"), "--out", str(tmp_path / "cohorts" / "after")]) == 2
    assert main(["check", str(tmp_path / "cohorts" / "after")]) == 0  # changes nothing
    kept = [
        (line["who"], line["action"], line["on"], line["outcome"], line["from"])
        for line in chain.lines(tmp_path / "audit.jsonl")
    ]
    assert kept == [
        ("ops", "cohort.make", "cohorts/after", outcome, "command line") for outcome in ("done", "failed")
    ]  # fmt: skip


def test_two_processes_at_once_keep_one_chain(tmp_path):
    (tmp_path / "roles.toml").write_text("[roles]\n")
    command = [sys.executable, "-m", "crm_models", "generate", "--scenario", "paper", "--customers", "20", "--out"]
    both = [subprocess.Popen([*command, str(tmp_path / "cohorts" / name)], cwd=ROOT) for name in ("a", "b")]
    assert [process.wait() for process in both] == [0, 0]
    assert {line["on"] for line in chain.lines(tmp_path / "audit.jsonl")} == {"cohorts/a", "cohorts/b"}
