"""A real MLflow, on SQLite and behind a server, and folders written by hand."""

from __future__ import annotations

import io
import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest

from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import (
    JournalPoint,
    ProbeRecord,
    StatusRecord,
    SubmissionRecord,
    TrialRecord,
    TrialsRecord,
    TrialState,
)
from mimlab.storage.store import Store
from mimlab.track.settings import prepare_client
from mimlab.track.view import MlflowView
from one_machine.ports import free_port

prepare_client()
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

from mlflow import MlflowClient  # noqa: E402  (imports it once, as a driver does)

POINT_MS = 1_700_000_000_000


def wait_until(met: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 240  # a busy machine takes its time
    while not met():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


class Server:
    """`mlflow server` on a loopback port, which can go away and come back."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        """`command` is run in `folder`, on a free port."""
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self._command = command
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self._command, "--workers", "1", *address],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, "mlflow server did not start")

    def pause(self) -> None:
        """It keeps its port and takes connections, and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """kill -9, paused or not."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            # Its own workers die a little later, and hold the port until then.
            wait_until(self._is_free, "the port is still taken")

    def _is_free(self) -> bool:
        try:
            socket.create_server(("127.0.0.1", self.port)).close()
        except OSError:
            return False
        return True

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


class Lab:
    """A storage root with one submission, and MLflow's client to look at what is shown of it."""

    def __init__(self, root: Path, uri: str, study: str) -> None:
        self.store = Store(root)
        self.uri = uri
        self.study = study
        self.client = MlflowClient(tracking_uri=uri)
        self._seq: dict[str, int] = {}

    def submission(self, *, name: str = "first", trials: int = 1) -> SubmissionRecord:
        """Trials have ids unique to this lab, since a database is shared by the tests."""
        record = SubmissionRecord(
            id=f"{self.study}-{name}",
            study=self.study,
            question="Does block masking beat random?",
            study_hash="ab12",
            study_file="sweeps/ratio.yaml",
            trial_ids=[f"{self.study}-t{i}" for i in range(trials)],
            created="2026-01-02T03:04:05+00:00",
            user="ada",
            host="lab",
            code_fingerprint="c0de",
            tracking_uri=self.uri,
            environment={"git.commit": "1234abcd", "git.diff": "+loss = 0\n", "python": "3.11.7"},
        )
        folder = SubmissionFolder(self.store, record.id)
        self.store.write_record(folder.file("submission.json"), record)
        self.store.write(folder.file("study.yaml"), b"study: ratio\n")
        listed = TrialsRecord(trials=self.trials(record))
        self.store.write_record(folder.file("trials.json"), listed)
        return record

    def trials(self, submission: SubmissionRecord) -> list[TrialRecord]:
        names = itertools.cycle(["random", "block"])
        return [
            TrialRecord(
                id=trial_id,
                study=submission.study,
                seed=i,
                point={"masking.name": name, "masking.ratio": 0.75},
                resolved={
                    "recipe": "mae",
                    "data": {"images": "/data/digits"},
                    "objective": {"name": "mae"},
                    "target": {"name": "pixels"},
                    "masking": {"name": name, "ratio": 0.75},
                    "probes": [{"name": "knn"}],
                },
                identity={"masking.name": name, "masking.ratio": "0.75", "seed": str(i)},
            )
            for i, (trial_id, name) in enumerate(zip(submission.trial_ids, names, strict=False))
        ]

    def written(self, *, name: str = "first", trials: int = 1) -> SubmissionFolder:
        """A submission with its trials, which no driver has shown yet."""
        record = self.submission(name=name, trials=trials)
        for trial in self.trials(record):
            self.store.write_record(f"trials/{trial.id}/trial.json", trial)
        return SubmissionFolder(self.store, record.id)

    def view(self, submission: SubmissionRecord, trials: list[TrialRecord]) -> MlflowView:
        """As a fresh driver would have it."""
        view = MlflowView(self.store, self.uri)
        view.open_submission(submission, trials)
        return view

    def opened(self, *, trials: int = 1) -> tuple[MlflowView, list[TrialFolder]]:
        """A submission with its trials, shown once."""
        submission = self.submission(trials=trials)
        view = self.view(submission, self.trials(submission))
        view.sync()
        assert view.last_error == ""
        return view, [TrialFolder(self.store, trial_id) for trial_id in submission.trial_ids]

    def points(self, trial: TrialFolder, count: int) -> list[JournalPoint]:
        """Append a journal segment of `count` points, two metrics each."""
        first = self._seq.get(trial.id, 0) + 1
        points = [
            JournalPoint(
                seq=seq,
                time_ms=POINT_MS + 1000 * seq,
                step=10 * seq,
                metrics={"train/loss": 1.0 / seq, "train/images": 640.0 * seq},
            )
            for seq in range(first, first + count)
        ]
        lines = b"".join(p.model_dump_json().encode() + b"\n" for p in points)
        self.store.write(trial.file(f"journal/{first:09d}.jsonl"), lines)
        self._seq[trial.id] = first + count - 1
        return points

    def status(self, trial: TrialFolder, state: TrialState, *, reason: str = "") -> None:
        trial.write_status(StatusRecord(state=state, reason=reason, attempt=1, total_steps=500))

    def export(self, trial: TrialFolder, step: int) -> None:
        self.store.write(trial.file(f"exports/step_{step:09d}/encoder.json"), b"{}")

    def probe(
        self,
        folder: str,
        step: int,
        *,
        key: str,
        value: float,
        error: str = "",
        collapse: str = "",
        later_ms: int = 0,
    ) -> None:
        record = ProbeRecord(
            probe="knn",
            protocol="knn/1",
            settings={},
            step=step,
            epoch=1.0,
            metrics={} if error else {key: value},
            encoder_hash="e0",
            data_fingerprint="f" * 64,
            num_fit=100,
            num_test=50,
            seconds=1.5,
            time_ms=POINT_MS + step + later_ms,
            error=error,
            collapse=collapse,
        )
        self.store.write_record(f"{folder}/knn-{step:09d}.json", record)

    def board(self, trial: TrialFolder, step: int) -> None:
        data = io.BytesIO()
        PIL.Image.new("RGB", (16, 8), (step % 256, 0, 0)).save(data, "png")
        self.store.write(trial.file(f"boards/{step:09d}.png"), data.getvalue())

    def run(self, folder: TrialFolder | SubmissionFolder):
        """The MLflow run that the folder's link names."""
        link = folder.mlflow()
        assert link is not None
        return self.client.get_run(link.run_id)

    def history(self, trial: TrialFolder, key: str) -> list[tuple[int, int, float]]:
        """(step, time, value) in the order in which MLflow stores them."""
        points = self.client.get_metric_history(self.run(trial).info.run_id, key)
        return [(p.step, p.timestamp, p.value) for p in points]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An SQLite address; shared, since creating its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/mlflow.db"


@pytest.fixture(scope="session")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    store = ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    files = ["--artifacts-destination", str(folder / "files")]
    server = Server(folder, ["mlflow", "server", *store, *files])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(one_server: Server) -> Server:
    """Up, whatever the test before did to it."""
    one_server.start()
    return one_server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Runs a command that the user is told to type, in another folder than the results'."""
    started: list[Server] = []

    def start(command: str) -> Server:
        (tmp_path / "elsewhere").mkdir()
        server = Server(tmp_path / "elsewhere", shlex.split(command))
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def make_lab(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Lab]:
    """A lab whose study is named by the test, on the given address."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.removeprefix("test_"))
    return lambda uri: Lab(tmp_path / "runs", uri, name)


@pytest.fixture
def lab(make_lab: Callable[[str], Lab], database: str) -> Lab:
    return make_lab(database)
