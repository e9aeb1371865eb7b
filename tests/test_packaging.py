"""The packaging holds: one name shadows nothing, the rooms keep apart, every module imports."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import mimlab
import mimlab_objectives

ROOT = Path(__file__).parents[1]
SKIP = {".venv", ".git", "build", "dist"}
STDLIB_PLATFORM = Path(sysconfig.get_path("stdlib"), "platform.py")


def modules_of(package) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    return [module.name for module in found]


def imports_of(path: Path) -> set[str]:
    """Top-level names that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_no_package_is_named_platform() -> None:
    hits = [
        path
        for path in ROOT.rglob("platform/__init__.py")
        if not SKIP & set(path.relative_to(ROOT).parts)
    ]
    assert hits == []


def test_tests_hold_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_platform_is_the_standard_library_s() -> None:
    import platform

    assert Path(platform.__file__) == STDLIB_PLATFORM


def test_platform_is_the_standard_library_s_with_the_root_first_on_the_path() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run(
        [sys.executable, "-c", "import platform; print(platform.__file__)"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(out.stdout.strip()) == STDLIB_PLATFORM


def test_objectives_know_neither_ray_nor_mlflow_nor_the_platform() -> None:
    files = list((ROOT / "objectives").rglob("*.py"))
    assert files
    guilty = {str(file): imports_of(file) & {"ray", "mlflow", "mimlab"} for file in files}
    assert {file: names for file, names in guilty.items() if names} == {}


def test_only_track_imports_mlflow() -> None:
    files = list((ROOT / "platform").rglob("*.py"))
    assert files
    guilty = [f for f in files if "mlflow" in imports_of(f) and f.parent.name != "track"]
    assert guilty == []


@pytest.mark.parametrize("name", modules_of(mimlab) + modules_of(mimlab_objectives))
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name)


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = (
        "import sys, mimlab.cli.main; "
        "print([m for m in ('torch', 'ray', 'mlflow', 'timm') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"
