"""Fixtures that several test files share."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest test comes first, so that no process waits for it in the end; no quick test beside its long twin."""
    items.sort(key=lambda item: "test_the_shell_blocks_run" not in item.name)
    if not config.option.markexpr:
        names = {item.nodeid for item in items}
        twins = [item for item in items if item.nodeid.replace("[quick]", "[long]") in names - {item.nodeid}]
        config.hook.pytest_deselected(items=twins)
        items[:] = [item for item in items if item not in twins]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; the test is skipped, with the reason, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets (../shared/data) are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def postgres():
    """The address of a PostgreSQL server of our own; skipped where none can be started."""
    pytest.importorskip("psycopg")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not binaries or os.environ.get("CI"):
        pytest.skip("no PostgreSQL server here (Debian's package `postgresql`), or this is CI")
    folder = Path(tempfile.mkdtemp(prefix="crm-pg-"))  # a short path that other users may enter
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        as_user = ["runuser", "-u", "nobody", "--"]
        folder.chmod(0o777)
    bin_folder, data = binaries[-1].parent, folder / "data"
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    start = [*as_user, str(bin_folder / "pg_ctl"), "-D", str(data), "-o", options, "-w", "-t", "20"]
    try:
        create = [*as_user, str(bin_folder / "initdb"), "-D", str(data), "-A", "trust", "-U", "crm", "-N"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        subprocess.run([*start, "-l", str(folder / "log"), "start"], check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"PostgreSQL could not be started: {error}")
    yield f"postgresql+psycopg://crm@/postgres?host={folder}"
    subprocess.run([*start, "-m", "immediate", "stop"], check=False, capture_output=True, timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def one_of_everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a cohort, runs, campaigns, plans and jobs, and a backup of it beside it; work on a copy."""
    from tests.faults.place import make_workspace  # loads what starts processes, which few tests need

    return make_workspace(tmp_path_factory.mktemp("everything"))
