"""Every command and every line of Python that the README shows runs as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from crm_models.cli.commands import main
from tests import test_architecture as architecture

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """An empty folder with a `python` that is this one."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "python").chmod(0o755)
    return folder


def run(command: list[str], place: Path) -> subprocess.CompletedProcess:
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=place, env=environment)


def commands(block: str) -> list[str]:
    """The commands of a block, a line each; a line that ends in a backslash goes on with the next."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.slow
def test_the_shell_blocks_run_to_their_end_one_after_the_other(place, monkeypatch, capsys):
    """As a reader would type them: later ones use what earlier ones made. Ours run in this process, imported once."""
    monkeypatch.chdir(place)
    for line in (line for block in blocks("bash") for line in commands(block)):
        program, *rest = shlex.split(line)
        if [program, *rest[:2]] == ["python", "-m", "crm_models"]:
            code, error = main(rest[2:]), capsys.readouterr().err
        else:
            ran = run(["bash", "-euo", "pipefail", "-c", line], place)
            code, error = ran.returncode, ran.stderr
        assert code == 0, line + error


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"), ids=["python"])
def test_the_python_example_runs_and_writes_what_it_says(block, place):
    ran = run([sys.executable, "-c", block], place)
    assert ran.returncode == 0, ran.stderr
    assert "of at most" in ran.stdout
    assert (place / "workspace" / "python.csv").exists()
    assert len([line for line in block.splitlines() if line.strip()]) <= 12


def test_every_make_target_that_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"make ([a-z]+)", README))
    assert {"run", "test"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


def test_the_map_names_every_folder_and_every_file_it_links_exists():
    table = README.split("## A map of the code")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    assert len(rows) < 20
    named = set(re.findall(r"`([a-z_]+)/?`", "".join(rows))) - {"crm_models", "dashboard"}
    order = [*architecture.PACKAGE, *architecture.APP]
    assert named == set(order) - {"__main__", "streamlit_patches"}
    for link in re.findall(r"\]\(([^)]+)\)", table):
        assert (ROOT / link).exists(), link


def test_every_picture_that_the_readme_shows_exists():
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).exists(), picture
