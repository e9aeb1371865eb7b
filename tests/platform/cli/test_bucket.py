"""A study whose images and results lie in a bucket is the study that it is on a disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from listening import await_port

from mimlab.exits import UNAVAILABLE
from mimlab.storage.remote_path import place_of
from mimlab.storage.store import Store
from one_machine.ports import free_port

SERVER_START_S = 120


@pytest.fixture
def images(bucket, intact_digits: Path) -> str:
    """The digits, in a bucket."""
    uri = bucket.uri("digits")
    for file in intact_digits.iterdir():
        (place_of(uri) / file.name).write_bytes(file.read_bytes())
    return uri


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    """The address of an MLflow server, a process of its own."""
    port = free_port()
    database = f"sqlite:///{tmp_path}/mlflow.db"
    command = ["server", "--backend-store-uri", database, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--artifacts-destination", tmp_path / "files"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    await_port(port, SERVER_START_S)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture
def refused(call, bucket, folder: Path) -> Callable[..., str]:
    """What `plan` and `run` say to results in a bucket, with these changes."""

    def ask(*changes: str) -> str:
        sets = [word for change in changes for word in ("--set", change)]
        said = [call(command, "tiny.yaml", *sets) for command in ("plan", "run")]
        assert [s.code for s in said] == [2, 2], said
        assert said[0].err == said[1].err and "Traceback" not in said[0].err
        assert not (folder / "runs").exists()
        assert Store(bucket.uri("runs")).list("") == []
        return said[0].err

    return ask


def test_results_in_a_bucket_need_an_mlflow_server(refused, bucket) -> None:
    runs = f"storage={bucket.uri('runs')}"
    assert "tracking.uri: null means a database beside the results" in refused(runs)
    local = refused(runs, "tracking.uri=sqlite:///mlflow.db")
    assert "nobody else could read it; start `mlflow server`" in local


def test_results_in_a_bucket_that_is_not_there_are_refused(refused, bucket, s3_server) -> None:
    away = f"storage=s3://nobody-has-this/runs?endpoint_override={s3_server}&scheme=http"
    told = refused(away, "tracking.uri=http://127.0.0.1:9")
    assert "storage: s3://nobody-has-this/runs" in told and "there is no such bucket" in told


@pytest.mark.parametrize(
    "command", [("resume", "x"), ("compare", "x"), ("export", "x", "--to", "y")]
)
def test_results_on_a_server_that_is_away_are_told_in_a_line(call, command) -> None:
    away = "s3://team/runs?endpoint_override=127.0.0.1:9&scheme=http"
    said = call(*command, "--storage", away)
    assert said.code == 2 and "Traceback" not in said.err
    assert "cannot be reached; check the address, AWS_ENDPOINT_URL and the network" in said.err


def test_under_a_supervisor_a_server_that_is_away_is_waited_for(call, monkeypatch) -> None:
    monkeypatch.setenv("MIMLAB_SUPERVISED", "1")
    away = "s3://team/runs?endpoint_override=127.0.0.1:9&scheme=http"
    said = call("resume", "x", "--storage", away)
    assert said.code == UNAVAILABLE and "cannot be reached" in said.err
    assert call("resume", "x", "--storage", "nowhere").code == 2


def test_images_in_a_bucket_without_a_data_set_are_refused(refused, bucket) -> None:
    told = refused(f"data.images={bucket.uri('none')}")
    assert "no manifest.json, so this is not a data set" in told


def test_a_bucket_is_inspected_like_a_folder(call, images: str, intact_digits: Path) -> None:
    there = call("data", "inspect", images, "--verify", "--json")
    here = call("data", "inspect", intact_digits, "--verify", "--json")
    assert there.code == 0, there
    assert there.out.splitlines()[2:] == here.out.splitlines()[2:]


@pytest.mark.slow
def test_a_killed_driver_is_resumed_from_a_bucket(
    make_lab, tiny: str, reference, bucket, images: str, mlflow_server: str
) -> None:
    storage = bucket.uri("runs")
    where = f"storage: {storage}\ntracking: {{uri: '{mlflow_server}'}}\n"
    study = tiny.replace("digits", images) + where
    lab = make_lab(study, storage)
    running = lab.start("run", "tiny.yaml", "--set", "sweep={}")
    lab.mid_training(0, running)
    running.kill()
    said = lab.call("resume", lab.submission.id, "--storage", storage)
    assert said.code == 0, said
    (trial,), (_, same) = lab.trials, reference.lab.trials
    assert lab.states == ["finished"] and trial.id == same.id
    assert lab.ended_as(reference.lab)
    scores = [{(r.probe, r.step): r.metrics for r in t.probes()} for t in (trial, same)]
    assert scores[0] == scores[1]
    compared = lab.call("compare", lab.submission.id, "--storage", storage)
    assert compared.code == 0 and "knn" in compared.out
    exported = lab.call("export", trial.id, "--to", "encoder", "--storage", storage)
    assert exported.code == 0 and (lab.folder / "encoder" / "model.safetensors").is_file()
