"""The shape of the code: two lists say what may import what; `README.md` tells them in words.

Streamlit stays outside the package, and torch where models compute.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGE = [
    "core",
    "data",
    "baselines",
    "models",
    "training",
    "inference",
    "planning",
    "evaluation",
    "runs",
    "campaigns",
    "upkeep",
    "paper",
    "bench",
    "workflow",
    "cli",
    "__main__",
]
"""The folders of `crm_models`: a module imports from its own folder and from those above it in this list."""

APP = ["streamlit_patches", "jobs", "charts", "state", "panels", "app_pages", "app", "serve", "__main__"]
"""The folders of `dashboard`, likewise."""

TORCH = {"models", "training", "inference"}
"""Folders whose modules may import torch when they are imported; others reach it inside the functions that compute."""

FILES = {name: sorted((ROOT / name).rglob("*.py")) for name in ("crm_models", "dashboard")}


def imports_of(file: Path, *, at_import: bool = False) -> set[str]:
    """Dotted names of every module that the file imports; at_import: those that importing it loads at once."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: expected absolute imports"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def place_of(file: Path) -> str:
    """The folder, or the module, right below `crm_models` or `dashboard`."""
    return file.relative_to(ROOT).parts[1].removesuffix(".py")


@pytest.mark.parametrize(("top", "order"), [("crm_models", PACKAGE), ("dashboard", APP)])
def test_imports_run_one_way(top, order):
    places = {place_of(file) for file in FILES[top]} - {"__init__"}
    assert places == set(order)
    up = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in FILES[top]
        for name in imports_of(file)
        if (parts := name.split("."))[0] == top and len(parts) > 1 and parts[1] in order
        if place_of(file) == "__init__" or order.index(parts[1]) > order.index(place_of(file))
    ]
    assert up == []


def test_no_page_imports_another_page_and_no_folder_of_the_app_another_of_its_level():
    sideways = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in FILES["dashboard"]
        for name in imports_of(file)
        if (name.startswith("dashboard.app_pages"))
        or (place_of(file) == "charts" and name.startswith("dashboard.jobs"))
        or (place_of(file) not in ("app", "streamlit_patches") and name.startswith("dashboard.streamlit_patches"))
    ]
    assert sideways == []


@pytest.mark.parametrize("top", ["crm_models", "dashboard/charts", "dashboard/jobs"])
def test_streamlit_is_for_state_panels_and_pages(top):
    users = [str(f) for f in (ROOT / top).rglob("*.py") if any(n.split(".")[0] == "streamlit" for n in imports_of(f))]
    assert users == []


def test_nothing_of_the_app_hides_a_module_of_the_standard_library():
    # `streamlit run dashboard/app.py` puts that folder itself on the path.
    assert {child.stem for child in (ROOT / "dashboard").iterdir()} & set(sys.stdlib_module_names) == set()


def test_torch_is_loaded_only_where_models_compute():
    users = {
        place_of(f)
        for f in FILES["crm_models"]
        if any(n.split(".")[0] == "torch" for n in imports_of(f, at_import=True))
    }
    assert users <= TORCH


def test_the_first_page_loads_nothing_that_only_computations_need():
    heavy = {"torch", "sklearn", "scipy", "duckdb"}
    code = f"import sys, dashboard.panels.home; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "",
        ".runs.folder",
        ".evaluation.report",
        ".planning",
        ".planning.export",
        ".campaigns",
        ".workflow",
        ".cli.commands",
    ],
)
def test_importing_it_does_not_load_torch(module):
    code = f"import sys, crm_models{module}; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "False"


def test_scoring_does_not_load_the_compiler():
    """Which takes as long as PyTorch itself, and which only optimisers import."""
    code = (
        "import sys, pathlib; from crm_models.runs import explaining, folder, trained;"
        "trained.load_models(folder.RunFolder(pathlib.Path('assets/demo')), threads=1);"
        "print('torch._dynamo' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.strip() == "False"
