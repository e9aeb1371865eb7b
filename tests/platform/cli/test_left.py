"""What a study lacks at its end through nobody's wish: it is not taken for done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from mimlab.actions import audit
from mimlab.exits import DONE, INTERRUPTED
from mimlab.storage.journal import read_points
from one_machine.ports import free_port

pytestmark = pytest.mark.slow

ONE_TRIAL = "sweep.axes={masking.ratio: [0.5]}"


def test_a_disk_that_stays_full_leaves_work_that_a_supervisor_goes_on_with(
    make_lab, small_disk: Callable[[int], Path]
) -> None:
    disk = small_disk(64 << 20)
    lab = make_lab(storage=str(disk / "runs"))
    changes = [f"storage={disk}/runs", ONE_TRIAL, "resources.max_wait_minutes=0.1"]
    options = [word for change in changes for word in ("--set", change)]
    driver = lab.start("run", "tiny.yaml", *options)
    lab.mid_training(0, driver)
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    said = driver.ended()
    assert said.code == INTERRUPTED, said
    ballast.unlink()
    assert lab.states != ["failed"]
    again = lab.call("run", "tiny.yaml", *options)
    assert again.code == DONE, again
    assert lab.states == ["finished"] and lab.trials[0].status().step == 600
    lab.assert_shown_once(lab.trials[0])
    assert [(line.what, line.on) for line in audit.read(lab.store)] == [
        ("submit", lab.submission.id),
        ("resume", lab.submission.id),
    ]


def test_where_nobody_watches_an_mlflow_that_is_away_at_the_end_is_waited_for(
    make_lab, tmp_path: Path
) -> None:
    lab = make_lab()
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    changes = [ONE_TRIAL, "train.budget={steps: 200}", "probes=[]", f"tracking={{uri: '{uri}'}}"]
    supervisor = lab.start(
        "supervise", "tiny.yaml", *(word for change in changes for word in ("--set", change))
    )
    lab.wait_for_submission(supervisor)
    assert supervisor.says("MLflow is behind (")
    assert lab.states == ["finished"]
    server = mlflow_server(tmp_path, port)
    try:
        said = supervisor.ended()
        assert said.code == DONE, said
        assert "MLflow lacks" not in said.words
        (trial,) = lab.trials
        client, link = MlflowClient(tracking_uri=uri), trial.mlflow()
        assert client.get_run(link.run_id).info.status == "FINISHED"
        shown = client.get_metric_history(link.run_id, "train/loss")
        points = read_points(lab.store, trial.file("journal"))
        assert [point.step for point in shown] == [point.step for point in points]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_signal_ends_the_wait_for_mlflow_and_the_study_is_done(make_lab) -> None:
    lab = make_lab()
    changes = [ONE_TRIAL, "train.budget={steps: 100}", "probes=[]"]
    changes += ["tracking={uri: 'http://127.0.0.1:9'}"]
    supervisor = lab.start(
        "supervise", "tiny.yaml", *(word for change in changes for word in ("--set", change))
    )
    assert supervisor.says("MLflow is behind (")
    supervisor.terminate()
    said = supervisor.ended()
    assert said.code == DONE, said
    assert "MLflow lacks" in said.words and f"mimlab sync {lab.submission.id}" in said.words
    assert lab.states == ["finished"]


def mlflow_server(folder: Path, port: int) -> subprocess.Popen[Any]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder}/server.db"),
        ],
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
