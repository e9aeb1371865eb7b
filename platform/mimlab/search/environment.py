"""What a submission ran on: for whoever compares it a year later."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mimlab
from mimlab_objectives.plugins import load_plugins

PACKAGES = (
    "mimlab",
    "torch",
    "timm",
    "ray",
    "mlflow",
    "pyarrow",
    "numpy",
    "opencv-python-headless",
)


def describe_environment() -> dict[str, str]:
    """Python, packages, git commit and hardware, flat."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": str(os.cpu_count()),
        **{f"package.{name}": _version(name) for name in PACKAGES},
        **{f"package.{plugin.package}": plugin.version for plugin in load_plugins()},
        **_git(Path(mimlab.__file__).parent),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _git(folder: Path) -> dict[str, str]:
    """Commit and whether there are uncommitted changes; nothing where this is no checkout."""
    commit = _run_git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"git.commit": commit, "git.diff": _run_git(folder, "diff", "HEAD") or ""}


def _run_git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
