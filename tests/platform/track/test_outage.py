"""MLflow behind a server that goes away: training never notices, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mimlab.storage.folders import SubmissionFolder
from mimlab.track.catch_up import catch_up
from mimlab.track.drain import Drain
from mimlab.track.sent import Sent
from mimlab.track.view import FIRST_WAIT_S, MlflowView

DRIVER = """
import sys
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store
from mimlab.track.view import MlflowView
root, uri, submission = sys.argv[1:]
folder = SubmissionFolder(Store(root), submission)
view = MlflowView(folder.store, uri)
view.open_submission(folder.record(), [trial.record() for trial in folder.trials()])
print("draining", flush=True)
view.sync()
"""


ENDING = """
import sys, time
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store
from mimlab.track.drain import Drain
from mimlab.track.view import MlflowView
root, uri, submission = sys.argv[1:]
folder = SubmissionFolder(Store(root), submission)
view = MlflowView(folder.store, uri)
view.open_submission(folder.record(), [trial.record() for trial in folder.trials()])
drain = Drain(view, every_s=0.05)
drain.start()
while drain.behind:
    time.sleep(0.05)
print("shown", flush=True)
input()
print(drain.stop(timeout_s=1.0), drain.behind, drain.lacking, flush=True)
"""


def wait_until(met, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_through_a_server_all_is_shown_as_in_a_database(make_lab, server) -> None:
    lab = make_lab(server.uri)
    view, [trial] = lab.opened()
    points = lab.points(trial, 1200)
    lab.export(trial, 100)
    lab.probe(trial.file("probes"), 100, key="probe/knn/top1", value=0.5)
    lab.board(trial, 100)
    lab.status(trial, "finished")
    assert view.close()
    run = lab.run(trial)
    expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
    assert lab.history(trial, "train/loss") == expected
    assert run.info.status == "FINISHED"
    [model] = lab.client.search_logged_models([run.info.experiment_id])
    assert [metric.value for metric in model.metrics] == [0.5]
    paths = {file.path for file in lab.client.list_artifacts(run.info.run_id)}
    assert paths == {"images", "resolved.yaml"}


@pytest.mark.slow
def test_what_accrues_while_the_server_is_away_arrives_in_order_and_once(
    make_lab, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(server.uri)
    view, trials = lab.opened(trials=4)
    for trial in trials:
        lab.status(trial, "running")
    points = {trial.id: lab.points(trial, 50) for trial in trials}
    assert view.sync() == 200
    server.stop()
    for trial in trials:
        points[trial.id] += lab.points(trial, 50)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", server.port)):  # takes connections, never answers
        started = time.monotonic()
        assert view.sync() == 0
        assert time.monotonic() - started < 3.0  # it waits once, not for each trial
    assert view.behind
    assert server.uri in view.last_error
    started = time.monotonic()
    assert view.sync() == 0  # within the back-off: not even tried
    assert time.monotonic() - started < 0.1
    for trial in trials:
        points[trial.id] += lab.points(trial, 50)
    monkeypatch.undo()
    server.start()
    time.sleep(FIRST_WAIT_S)
    wait_until(lambda: view.sync() == 400)
    assert not view.behind
    for trial in trials:
        expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points[trial.id]]
        assert lab.history(trial, "train/loss") == expected


@pytest.mark.slow
def test_a_server_restored_from_a_backup_gets_what_it_lost(make_lab, server) -> None:
    lab = make_lab(server.uri)
    view, [trial] = lab.opened()
    database, backup = server.folder / "server.db", server.folder / "backup.db"
    shutil.copy(database, backup)
    lab.status(trial, "running")
    points = lab.points(trial, 20)
    assert view.sync() == 20
    server.stop()
    points += lab.points(trial, 20)
    view.sync()
    shutil.copy(backup, database)
    server.start()
    time.sleep(FIRST_WAIT_S)
    wait_until(lambda: view.sync() == 40)
    expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
    assert lab.history(trial, "train/loss") == expected


def test_a_server_that_is_away_from_the_start_delays_nobody(make_lab, tmp_path: Path) -> None:
    lab = make_lab("http://127.0.0.1:9")  # the discard port: nobody listens
    submission = lab.submission()
    drain = Drain(lab.view(submission, lab.trials(submission)), every_s=0.05)
    started = time.monotonic()
    drain.start()
    assert time.monotonic() - started < 0.1
    wait_until(lambda: drain.last_error != "")
    assert drain.behind
    started = time.monotonic()
    assert not drain.stop(timeout_s=1.0)
    assert time.monotonic() - started < 3.0
    assert not lab.store.exists(f"submissions/{submission.id}/mlflow.json")


@pytest.mark.slow
def test_a_server_that_hangs_keeps_no_driver_from_ending(make_lab, server) -> None:
    """It takes the connection and the request, and answers nothing."""
    lab = make_lab(server.uri)
    submission = lab.written()
    [trial] = submission.trials()
    lab.status(trial, "running")
    points = lab.points(trial, 30)
    paths = {"PYTHONPATH": ":".join(sys.path), "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
    driver = subprocess.Popen(
        [sys.executable, "-c", ENDING, str(lab.store.root), lab.uri, submission.id],
        env=os.environ | paths,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdin and driver.stdout
    assert driver.stdout.readline() == "shown\n"
    server.pause()
    points += lab.points(trial, 70)
    time.sleep(1.0)  # the request is under way
    started = time.monotonic()
    said, _ = driver.communicate("end\n", timeout=100)
    took = time.monotonic() - started
    server.go_on()
    assert driver.returncode == 0
    assert said == "False True 70 points of 1 trial\n"
    assert took < 60.0
    # By now the server may or may not have done what it was asked while it was paused.
    assert catch_up(submission, lab.uri, Sent()) == []
    expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
    assert lab.history(trial, "train/loss") == expected
    assert lab.run(trial).info.status == "KILLED"


def test_the_drain_shows_what_is_written_and_ends_with_all_of_it(lab) -> None:
    submission = lab.submission()
    records = lab.trials(submission)
    folder = SubmissionFolder(lab.store, submission.id)
    [trial] = folder.trials()
    lab.status(trial, "running")
    drain = Drain(lab.view(submission, records), every_s=0.05)
    drain.start()
    wait_until(lambda: trial.mlflow() is not None and not drain.behind)
    lab.points(trial, 10)
    wait_until(lambda: len(lab.history(trial, "train/loss")) == 10)
    lab.points(trial, 10)
    lab.status(trial, "finished")
    assert drain.stop(timeout_s=20.0)
    assert len(lab.history(trial, "train/loss")) == 20
    assert lab.run(folder).info.status == "FINISHED"


@pytest.mark.slow
def test_a_driver_killed_while_it_sends_doubles_and_loses_nothing(lab) -> None:
    submission = lab.submission()
    [record] = lab.trials(submission)
    [trial] = SubmissionFolder(lab.store, submission.id).trials()
    lab.store.write_record(trial.file("trial.json"), record)
    points = lab.points(trial, 20_000)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(lab.store.root), lab.uri, submission.id],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: trial.mlflow() is not None)
    wait_until(lambda: len(lab.history(trial, "train/loss")) > 1000)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert 1000 < len(lab.history(trial, "train/loss")) < 20_000
    view = lab.view(submission, [record])
    assert view.close(timeout_s=30.0)
    expected = [(p.step, p.time_ms, p.metrics["train/loss"]) for p in points]
    assert lab.history(trial, "train/loss") == expected


def test_a_sync_before_a_submission_is_told_not_raised(tmp_path: Path, lab) -> None:
    view = MlflowView(lab.store, lab.uri)
    assert view.sync() == 0
    assert "open_submission comes first" in view.last_error


@pytest.mark.parametrize("name", ["MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
def test_what_the_user_set_for_mlflow_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mimlab.track.settings import prepare_client

    monkeypatch.setenv(name, "33")
    prepare_client()
    assert os.environ[name] == "33"
