"""`mimlab sync` as its user calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mimlab.cli.main import main
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder


class Said(NamedTuple):
    """What a command answered."""

    code: object
    out: str
    err: str


@pytest.fixture
def call(
    lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Calls `mimlab sync … --storage <the lab's>`; an exception fails the test."""

    def run(*arguments: str) -> Said:
        arguments = ("sync", "--storage", str(lab.store.root), *arguments)
        monkeypatch.setattr(sys, "argv", ["mimlab", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Said(end.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def dead(lab) -> SubmissionFolder:
    """A submission whose driver died while its trial ran, before MLflow was told anything."""
    submission = lab.written()
    [trial] = submission.trials()
    lab.points(trial, 1200)
    lab.status(trial, "running")
    return submission


def test_it_says_what_was_missing_and_then_that_nothing_is(call, lab, dead) -> None:
    [trial] = dead.trials()
    said = call(dead.id)
    told = "1,200 points, 2 new runs, the status of 2 runs"
    assert said == (0, f"{dead.id}: {told}\n", "")
    assert lab.run(trial).info.status == "KILLED"
    assert len(lab.history(trial, "train/loss")) == 1200
    for names in ([dead.id], [trial.id], [lab.study], []):
        assert call(*names) == (0, f"{dead.id}: nothing was missing\n", "")


def test_another_mlflow_is_built_up(call, lab, dead, tmp_path: Path) -> None:
    said = call("--tracking-uri", f"sqlite:///{tmp_path}/other.db")
    assert said == (0, f"{dead.id}: 1,200 points, 2 new runs, the status of 2 runs\n", "")
    assert dead.mlflow() is None
    assert call().out == said.out


def test_a_living_driver_tells_mlflow_itself(call, lab, dead) -> None:
    other = lab.written(name="second")
    lease.acquire(dead)
    said = call(other.id, dead.id)
    assert (said.code, said.out) == (2, "")
    assert "is being run by process" in said.err and "which tells MLflow itself" in said.err
    said = call()
    assert (said.code, said.err) == (0, "")
    first, second = said.out.splitlines()
    assert first.startswith(f"{dead.id}: process ") and "runs it and tells MLflow" in first
    assert second.startswith(f"{other.id}: 1,200 points, 2 new runs")
    assert dead.mlflow() is None


def test_an_mlflow_that_is_away_is_one_line(call, lab, dead) -> None:
    lab.written(name="second")
    said = call("--tracking-uri", "http://127.0.0.1:9")
    assert said == (
        1,
        "",
        f"error: {dead.id}: MLflow at http://127.0.0.1:9: nobody answers there; "
        "start it, then run the same command again\n",
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "there is no submission 'nothing'"),
        (["--storage", "empty"], "there is no submission; name the results with --storage"),
        (["--tracking-uri", "mlruns"], "tracking.uri: 'mlruns' is MLflow's file store"),
    ],
)
def test_what_cannot_be_is_one_line(call, dead, arguments: list[str], told: str) -> None:
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and told in said.err and said.err.count("\n") == 1
    assert dead.mlflow() is None
