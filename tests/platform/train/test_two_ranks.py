"""Two processes that halve each batch train as one process does, whatever the objective."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import trained_ranks
from objective_cases import CASES

import mimlab
import mimlab_objectives
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import load_study
from mimlab_objectives.objectives.base import objectives
from mimlab_objectives.registry import import_all

import_all("mimlab_objectives.objectives")
OWN = [e.name for e in objectives.entries() if e.part.__module__.startswith("mimlab_objectives.")]
Trained = dict[str, dict[str, Any]]
"""Objective → what `trained_ranks` found."""

# Drop path and dropout are drawn by rank.
SMALL = ("backbone.drop_path=0.0", "train.batch_size=16", "probes=[]")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_study: str) -> tuple[Trained, Trained]:
    """Every objective by one process, and by two at a time."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "tiny.yaml").write_text(tiny_study)
    specs = {name: spec_of(folder / "tiny.yaml", name) for name in OWN}
    (folder / "trials.json").write_text(json.dumps(specs))
    running = [started(folder, rank, world) for rank, world in ((0, 1), (0, 2), (1, 2))]
    told = [process.communicate(timeout=280)[1] for process in running]
    for process, errors in zip(running, told, strict=True):
        assert process.returncode == 0, errors
    one, two = (torch.load(folder / f"world{world}.pt") for world in (1, 2))
    return one, two


def spec_of(file: Path, name: str) -> dict[str, Any]:
    trial = legal_trials(load_study(file, None, [*CASES[name], *SMALL]))[0]
    spec = trial.spec.model_dump(mode="json")
    if "dropout" in spec["objective"]:
        spec["objective"]["dropout"] = 0.0
    return spec


def started(folder: Path, rank: int, world: int) -> subprocess.Popen[str]:
    roots = [Path(package.__path__[0]).parent for package in (mimlab, mimlab_objectives)]
    result = folder / f"world{world}.pt"
    words = [folder / "trials.json", result, rank, world, folder / "rendezvous"]
    return subprocess.Popen(
        [sys.executable, trained_ranks.__file__, *map(str, words)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, roots)), "GLOO_SOCKET_IFNAME": "lo"},
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_close(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Up to the order of sums: 1e-4 of the largest number, where that is more than rounding."""
    bound = max(1e-7, 1e-4 * float(expected.abs().max())) if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=0, atol=bound, msg=lambda m: f"{what}: {m}")


@pytest.mark.parametrize("name", OWN)
def test_two_ranks_come_to_the_gradients_and_weights_of_one(
    name: str, trained: tuple[Trained, Trained]
) -> None:
    one, two = (found[name] for found in trained)
    for step, (expected, found) in enumerate(zip(one["gradients"], two["gradients"], strict=True)):
        assert found.keys() == expected.keys()
        for parameter, gradient in expected.items():
            assert_close(found[parameter], gradient, f"gradient of {parameter} at step {step}")
    assert two["state"].keys() == one["state"].keys()
    for key, value in one["state"].items():
        assert_close(two["state"][key], value, key)


@pytest.mark.parametrize("name", OWN)
def test_two_ranks_report_the_figures_of_one(name: str, trained: tuple[Trained, Trained]) -> None:
    one, two = (found[name]["figures"] for found in trained)
    for expected, found in zip(one, two, strict=True):
        sums = [key for key in expected if not key.startswith("diagnostic/")]
        for key in sums:
            assert found[key] == pytest.approx(expected[key], rel=1e-4, abs=1e-6), key
