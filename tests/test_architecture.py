"""The shape of the code: imports run one way, streamlit stays outside the package, torch where it computes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "crm_models"
DASHBOARD = PACKAGE.parent / "dashboard"

STAGES = [
    "errors",
    "schema",
    "config",
    "search_space",
    "records",
    "files",
    "file_locks",
    "ahead",
    "truth",
    "sources",
    "checks",
    "cohort",
    "profile",
    "scores",
    "features",
    "markov",
    "baselines",
    "rehearsal",
    "machine",
    "models",
    "batches",
    "pieces",
    "courses",
    "tasks",
    "muon",
    "training",
    "prediction",
    "runs",
    "estimate",
    "fitting",
    "trials",
    "tuning",
    "intervals",
    "evaluation",
    "curves",
    "explanation",
    "planning",
    "export",
    "paper",
    "paper_report",
    "benchmark",
    "workflow",
    "speed",
    "options",
    "__main__",
]
TORCH_STAGES = {"machine", "models", "batches", "pieces", "tasks", "muon", "training", "prediction"}
"""Stages that import torch when they are imported; later ones reach it only inside the functions that compute."""


def stage_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of every module that the file imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


MODULES = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_from_earlier_stages(file):
    own = STAGES.index(stage_of(file))
    used = {name.split(".")[1] for name in imports_of(file) if name.startswith("crm_models.")}
    later = {stage for stage in used if stage in STAGES and STAGES.index(stage) > own}
    unknown = {stage for stage in used if stage not in STAGES and (PACKAGE / f"{stage}.py").exists()}
    assert not later, f"{file.name} imports from later stages: {sorted(later)}"
    assert not unknown, f"{file.name} imports modules without a place in the order: {sorted(unknown)}"


def test_the_package_never_imports_streamlit():
    users = [str(file) for file in MODULES if any(name.split(".")[0] == "streamlit" for name in imports_of(file))]
    assert users == []


def test_no_page_imports_another_page():
    pages = sorted((DASHBOARD / "app_pages").glob("*.py"))
    names = {page.stem for page in pages}
    for page in pages:
        used = {part for name in imports_of(page) for part in name.split(".")}
        assert not (used & names) - {page.stem} or "app_pages" not in used, f"{page.name} imports another page"


def test_charts_do_not_import_streamlit():
    files = sorted(DASHBOARD.glob("*charts.py"))
    assert len(files) > 3
    for file in files:
        assert not any(name.split(".")[0] == "streamlit" for name in imports_of(file)), file.name


def test_no_module_of_the_app_hides_one_of_the_standard_library():
    hidden = {file.stem for file in DASHBOARD.glob("*.py")} & set(sys.stdlib_module_names)
    assert hidden == set()


@pytest.mark.parametrize(
    "module", ["crm_models", "crm_models.runs", "crm_models.evaluation", "crm_models.planning", "crm_models.export"]
)
def test_importing_it_does_not_load_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert ran.stdout.strip() == "False"


def test_torch_is_imported_at_the_top_only_by_the_stages_that_compute():
    users = {stage_of(f) for f in MODULES if any(n.split(".")[0] == "torch" for n in imports_of(f, True))}
    assert users <= TORCH_STAGES | {"explanation"}
