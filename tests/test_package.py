"""The package as others install it: dependencies, the command, an example for every verb."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crm_models import workflow
from tests.test_architecture import FILES, imports_of

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = {
    canonicalize_name(requirement.name): requirement
    for requirement in map(Requirement, chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()))
}


def pins(*files: str) -> dict[str, str]:
    """Package to pinned version of requirements files."""
    lines = "\n".join((ROOT / file).read_text(encoding="utf-8") for file in files)
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", lines, re.M)}


EXTRAS = tuple(f"requirements-{extra}.txt" for extra in ("tune", "sql", "ray", "signin"))


def test_what_is_pinned_lies_in_the_range_that_the_package_asks_for():
    pinned = pins("requirements.txt", *EXTRAS)
    assert set(pinned) == set(RANGES)
    for name, requirement in RANGES.items():
        assert requirement.specifier.contains(pinned[name]), requirement


def test_the_lock_holds_every_pin_and_every_line_of_the_requirements_says_what_it_is_for():
    locked = pins("requirements.lock")
    files = ("requirements.txt", *EXTRAS, "tests/requirements.txt")
    for name, version in pins(*files).items():
        assert locked[name] == version, f"{name}: run `make lock`"
    for file in (*files, "requirements-bench.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            assert not re.match(r"\w", line) or "#" in line, f"{file}: {line}"


def test_everything_that_the_package_imports_is_a_dependency():
    names = {name.split(".")[0] for file in FILES["crm_models"] for name in imports_of(file)}
    others = names - set(sys.stdlib_module_names) - {"crm_models"}
    distributions = packages_distributions()
    needed = {canonicalize_name(distributions.get(name, [name])[0]) for name in others}
    asked = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = {"optuna", "sqlalchemy", "ray"}  # imported only where they are used
    peers = {"catboost", "lightgbm"}  # measured beside ours, where they are installed
    assert needed - asked == extras | peers


@pytest.mark.slow
def test_an_installed_package_has_the_command(tmp_path):
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    source = tmp_path / "source"
    shutil.copytree(ROOT / "crm_models", source / "crm_models", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source)
    subprocess.run([*install, "--target", str(tmp_path / "site"), str(source)], check=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    command = [str(tmp_path / "site" / "bin" / "crm-transformers")]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert helped.stdout.startswith("usage: crm-transformers "), helped.stderr
    arguments = ["generate", "--scenario", "paper", "--out", "cohort"]
    made = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert made.stdout.startswith("cohort: 100 customers"), made.stderr


VERBS = [
    function
    for function in vars(workflow).values()
    if inspect.isfunction(function) and function.__module__.startswith(workflow.__name__)
]


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb is not workflow.export_plans], ids=lambda v: v.__name__
)
def test_every_verb_has_an_example_that_calls_it(verb):
    """`pytest` runs the examples; `export_plans` is shown by `plan`, which calls it."""
    assert re.search(rf">>> .*workflow\.{verb.__name__}\(", verb.__doc__ or "")


VULNERABLE = {"name": "x", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([VULNERABLE], 1, "x 1: CVE-1, mended in 2"),
        (
            [VULNERABLE | {"vulns": []}, {"name": "y", "skip_reason": "unknown"}],
            0,
            "1 of 2 packages audited, 0 advisories",
        ),
        ([{"name": "y", "skip_reason": "no network"}], 0, "osv: audited none of requirements.lock: no network"),
    ],
)
def test_advisories_fail_the_audit_and_silence_is_said(tmp_path, packages, status, said):
    tool = tmp_path / "pip-audit"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps({'dependencies': packages})}\nEND\n")
    tool.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, ".ci/audit", tool, "requirements.lock"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == status, ran.stderr
    assert said in ran.stdout
