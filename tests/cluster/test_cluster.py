"""Plans made on a Ray cluster, and from an S3 server to it, are those of this process, byte for byte."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import fs

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.core.engines import InProcess
from crm_models.core.errors import RunError
from crm_models.core.places import place
from crm_models.runs.folder import RunFolder
from crm_models.runs.planning import plan_parts
from tests.core.test_engines import Squares
from tests.runs.test_planning import PARTS, DyingJob, job, small_parts

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / ".venv" / "s3" / "bin" / "moto_server"

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]  # Ray and what it imports warn


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("clustered")
    small_parts(root)
    plan_parts(job(root), PARTS, InProcess(1), root / "plans.csv", {})
    return root


# ---- Ray -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster():
    """A cluster of three nodes on this machine, with one processor each, none of them in use by the driver's node."""
    pytest.importorskip("ray", reason="Ray is not installed: `make cluster` does")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_nodes_of_a_cluster_write_the_same_bytes_also_if_a_process_is_killed(made, tmp_path, cluster):
    from crm_models.core.ray_engine import RayCluster

    engine = RayCluster(address=cluster.address)
    dying = job(made, DyingJob, mark=tmp_path / "died")
    manifest = plan_parts(dying, PARTS, engine, tmp_path / "plans.csv", {})
    assert ((tmp_path / "died").exists(), engine.workers, manifest["computed"]["engine"]) == (True, 2, "ray")
    assert (tmp_path / "plans.csv").read_bytes() == (made / "plans.csv").read_bytes()


def test_a_node_that_goes_away_is_replaced_and_a_cluster_without_any_is_named(tmp_path, cluster, monkeypatch):
    from crm_models.core import ray_engine

    monkeypatch.setattr(ray_engine, "CHECK_SECONDS", 1)
    results = ray_engine.RayCluster(address=cluster.address).results(Squares(tmp_path, slow=3), 12)
    first = [next(results) for _ in range(3)]
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
    assert first + [next(results) for _ in range(3)] == [0, 1, 4, 9, 16, 25]
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
    with pytest.raises(RunError, match=r"expected the Ray cluster to finish its parts, but it went away"):
        list(results)


def test_a_cluster_whose_head_dies_is_named(tmp_path, cluster, monkeypatch):
    from crm_models.core import ray_engine

    monkeypatch.setattr(ray_engine, "CHECK_SECONDS", 1)
    results = ray_engine.RayCluster(address=cluster.address).results(Squares(tmp_path, hangs=2), 12)
    assert [next(results), next(results)] == [0, 1]
    cluster.head_node.kill_gcs_server(check_alive=False)
    with pytest.raises(RunError, match=r"expected the Ray cluster to finish its parts, but it went away"):
        list(results)


def test_a_cluster_that_is_not_there_is_named(made, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    out = str(made / "never.csv")
    assert main(["plan", str(made / "run"), "--engine", "ray", "--address", address, "--quiet", "--out", out]) == 2
    assert f"error: {address}: expected a Ray cluster that can be reached" in capsys.readouterr().err
    assert not Path(out).exists()


def test_processes_on_a_cluster_train_as_one_and_a_lost_one_or_a_full_cluster_is_named(
    made, tmp_path, cluster, monkeypatch
):
    from crm_models.core import ray_engine

    config = replace(workflow.run_config(preset="paper", epochs=100_000), models=("sequence",))
    alone = workflow.train(made / "cohort", tmp_path / "alone", config)
    expected = [next(alone).train_loss for _ in range(2)]
    alone.close()
    where = {"workers": 3, "engine": "ray", "address": cluster.address}
    together = workflow.train(made / "cohort", tmp_path / "run", config, **where)
    assert [next(together).train_loss for _ in range(2)] == pytest.approx(expected, rel=1e-4)
    cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
    with pytest.raises(RunError, match=r"expected 3 processes .* `train --resume` goes on from the last epoch"):
        list(together)
    last = RunFolder(tmp_path / "run").status().epochs[-1].epoch
    resumed = workflow.resume(tmp_path / "run", **where | {"workers": 2})
    assert next(resumed).epoch <= last + 1
    resumed.close()
    monkeypatch.setattr(ray_engine, "CHECK_SECONDS", 1)
    # The cluster counts the processor of the lost node until it notices, which takes it some seconds.
    with pytest.raises(RunError, match=r"expected a free processor .* found none for one of them .* has [12] in all"):
        list(workflow.train(made / "cohort", tmp_path / "more", config, **where))


# ---- object storage --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket(made):
    """The address of a bucket of a local S3 server that holds the cohort and the run; and its file system."""
    if not SERVER.exists():
        pytest.skip("there is no S3 server: `make cluster` installs one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([str(SERVER), "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        options = f"endpoint_override=127.0.0.1%3A{port}&scheme=http&region=us-east-1&allow_bucket_creation=true"
        try:
            store = _ready(f"s3://customers?{options}")
            for name in ("cohort", "run"):
                fs.copy_files(str(made / name), f"customers/{name}", destination_filesystem=store)
            yield f"s3://customers/{{}}?{options}", store
        finally:
            server.terminate()
            server.wait()


def _ready(address: str) -> fs.FileSystem:
    for _ in range(100):
        try:
            store = fs.FileSystem.from_uri(address)[0]
            store.create_dir("customers")
        except OSError:
            time.sleep(0.2)
        else:
            return store
    raise AssertionError("the S3 server does not answer")


def test_cohort_run_and_plans_may_all_lie_on_object_storage(made, bucket):
    address, store = bucket
    cohort, run, out = (place(address.format(name)) for name in ("cohort", "run", "plans.csv"))
    here = workflow.plan(made / "run", made / "here.csv", job(made).policy, threads=1)
    there = workflow.plan(run, out, job(made).policy, cohort=cohort, workers=2)
    same = ("cohort_hash", "counts", "run_id", "drift")
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    content = store.open_input_file("customers/plans.csv").read()
    scored_at = (here["scored_at"].encode(), there["scored_at"].encode())
    assert content.replace(scored_at[1], scored_at[0]) == (made / "here.csv").read_bytes()
    files = {info.base_name for info in store.get_file_info(fs.FileSelector("customers", recursive=False))}
    assert files == {"cohort", "run", "plans.csv", "plans.manifest.json"}


def test_what_is_not_on_object_storage_is_named(bucket, made):
    address, _ = bucket
    with pytest.raises(Exception, match="s3://customers/nothing: expected a cohort folder, found nothing"):
        workflow.plan(made / "run", made / "no.csv", job(made).policy, cohort=place(address.format("nothing")))
