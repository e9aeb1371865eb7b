"""`mimlab` as a user calls it: in this process where nothing runs, as a process of its own where a
study does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest
from bits import identical
from filelock import FileLock

import mimlab
import mimlab_objectives
from mimlab.actions.own_processes import OwnProcesses
from mimlab.cli.main import main
from mimlab.data.builtin import built_in
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder, TrialFolder, submissions
from mimlab.storage.journal import read_points
from mimlab.storage.store import Store
from mimlab.track.settings import prepare_client
from mimlab.train.checkpoint import read_checkpoint, read_committed

prepare_client()

from mlflow import MlflowClient  # noqa: E402  (imports it once, as a driver does)
from mlflow.entities import Run  # noqa: E402

STUDY = """\
study: tiny
question: Does this fit into a minute?
data:
  images: digits
  image_size: 16
  augment: {crop_scale: [0.6, 1.0], flip: 0.0}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 1, num_heads: 2}
objective: {name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels}
masking: {name: random, ratio: 0.75}
train:
  budget: {steps: 600}
  batch_size: 64
  optimizer: {base_lr: 3.0e-3}
  log_every: 20
  checkpoint: {every_epochs: 2, keep_last: 3}
probes:
  - {name: knn, every_epochs: 16}
  - {name: linear, at: end, epochs: 5}
sweep:
  axes:
    masking.ratio: [0.5, 0.75]
resources: {cpus_per_worker: 1, concurrent_trials: 1}
"""
"""Two trials, one after the other, of a model that a core trains in seconds."""
STEPS = 600
PATIENCE_S = 600.0
"""Much more than anything takes on a quiet machine."""

NOISE = ("(pid=", "(raylet", "WARN", "Warning", "INFO", "ERROR", "╭", "Traceback")
"""What a library says that speaks unasked."""

_ROOTS = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """Both streams, however the terminal has broken their lines."""
        return " ".join((self.out + " " + self.err).split())

    @property
    def noise(self) -> list[str]:
        """Lines of libraries that were not told to be silent."""
        lines = (self.out + self.err).splitlines()
        return [line for line in lines if any(word in line for word in NOISE)]


Call = Callable[..., Said]


@pytest.fixture(scope="session")
def tiny() -> str:
    """The tiny study's file."""
    return STUDY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the tiny study in `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls `mimlab` in this process; an exception that would be a traceback fails the test."""

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["mimlab", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        assert isinstance(code, int)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def intact_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_in("digits", tmp_path_factory.mktemp("digits"))


@pytest.fixture
def digits(intact_digits: Path, folder: Path) -> Path:
    """A data set of one's own, to be damaged."""
    return shutil.copytree(intact_digits, folder / "digits")


class Running:
    """A `mimlab` that runs as a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def ended(self) -> Said:
        """Wait for its end."""
        out, err = self._process.communicate(timeout=PATIENCE_S)
        return Said(self._process.returncode, out, err)

    def says(self, words: str) -> bool:
        """Wait for a line on its stderr that begins so; False where it ends without one."""
        assert self._process.stderr is not None
        return any(line.startswith(words) for line in self._process.stderr)

    def ended_by_itself(self) -> bool:
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Ctrl-C: the terminal tells everything in the foreground, Ray's processes too."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM to the driver, and to nothing else."""
        self._process.terminate()

    def kill(self) -> None:
        """kill -9 of the driver, and of nothing else."""
        self._process.kill()
        self._process.communicate()

    def child(self, title: str) -> psutil.Process | None:
        """The first process below it whose title begins so."""
        for process in psutil.Process(self.pid).children(recursive=True):
            try:
                if process.cmdline()[:1] and process.cmdline()[0].startswith(title):
                    return process
            except psutil.Error:
                continue
        return None

    def awaited_child(self, title: str) -> psutil.Process:
        """A process below it, as soon as there is one of that title."""
        wait_until(lambda: self.child(title) is not None or self.ended_by_itself(), title)
        found = self.child(title)
        assert found is not None, f"no {title} came to life"
        return found

    def kill_child(self, title: str) -> None:
        """kill -9 of a process below it, as soon as there is one of that title."""
        self.awaited_child(title).kill()


class Lab:
    """A folder with a study, the commands that run in it, and what they leave behind."""

    def __init__(self, folder: Path, study: str = STUDY, storage: str | None = None) -> None:
        """`storage`: where the study says that its results go; `runs` unless it says."""
        self.folder = folder
        self.store = Store(storage or folder / "runs")
        self._started: list[Running] = []
        folder.mkdir(exist_ok=True)
        (folder / "tiny.yaml").write_text(study)

    def start(
        self,
        *arguments: str,
        under: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Running:
        """`mimlab ARGUMENTS` as the leader of a process group, as a shell would start it.

        `under`: a command that starts it; `env`: variables besides; `folder`: another to work in.
        """
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        path = os.pathsep.join([*_ROOTS, os.environ.get("PYTHONPATH", "")])
        running = Running(
            subprocess.Popen(
                [*under, sys.executable, "-m", "mimlab.cli.main", *arguments],
                cwd=folder or self.folder,
                env=own | {"PYTHONPATH": path, "COLUMNS": "120"} | dict(env or {}),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        self._started.append(running)
        return running

    def call(self, *arguments: str) -> Said:
        """`mimlab ARGUMENTS`, to its end."""
        return self.start(*arguments).ended()

    def close(self) -> None:
        """Whatever a failed test left running ends; Ray's processes die with their driver."""
        for running in self._started:
            if not running.ended_by_itself():
                running.kill()

    @property
    def submission(self) -> SubmissionFolder:
        """The only submission that there is."""
        (found,) = submissions(self.store)
        return found

    @property
    def trials(self) -> list[TrialFolder]:
        return self.submission.trials() if submissions(self.store) else []

    @property
    def states(self) -> list[str]:
        return [trial.status().state for trial in self.trials]

    def wait_for_submission(self, running: Running) -> None:
        """Wait until the study's folder is written and held."""

        def held() -> bool:
            assert not running.ended_by_itself(), running.ended()
            names = [folder.id for folder in submissions(self.store)]
            return any(lease.current(self.store, name) for name in names)

        wait_until(held, "no submission came")

    def mid_training(self, trial: int, running: Running) -> None:
        """Wait until a trial has a checkpoint to go on from, and much left to do."""

        def reached() -> bool:
            assert not running.ended_by_itself(), running.ended()
            return len(self.trials) > trial and has_checkpoint(self.trials[trial])

        wait_until(reached, "no checkpoint came")
        status = self.trials[trial].status()
        assert status.state == "running" and status.step < STEPS, status

    def pruned(self, trial: int, running: Running) -> None:
        """Wait until it is decided that a trial is to end early."""

        def decided() -> bool:
            assert not running.ended_by_itself(), running.ended()
            return self.store.exists(self.trials[trial].file("prune.json"))

        wait_until(decided, "it was not pruned")

    def events(self, trial: int, event: str) -> list[dict]:
        """Lines of a trial's log."""
        lines = self.store.read(self.trials[trial].file("log.jsonl")).splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def ended_as(self, other: Lab) -> bool:
        """Whether every trial's last state is bit for bit that of the same trial elsewhere."""
        same = {trial.id: trial for trial in other.trials}
        return all(
            identical(_last_state(trial), _last_state(same[trial.id])) for trial in self.trials
        )

    @property
    def mlflow(self) -> MlflowClient:
        return MlflowClient(tracking_uri=f"sqlite:///{self.store.root}/mlflow.db")

    def shown(self, folder: TrialFolder | SubmissionFolder) -> Run:
        """The MLflow run of a trial or a submission."""
        link = folder.mlflow()
        assert link is not None
        return self.mlflow.get_run(link.run_id)

    def assert_shown_once(self, trial: TrialFolder) -> None:
        """MLflow has each point of the trial's journal once, in order, and no other."""
        points = read_points(self.store, trial.file("journal"))
        assert [point.seq for point in points] == list(range(1, len(points) + 1))
        assert [point.step for point in points] == list(range(20, STEPS + 1, 20))
        run_id = self.shown(trial).info.run_id
        for key in points[0].metrics:
            history = self.mlflow.get_metric_history(run_id, key)
            shown = [(point.step, point.value) for point in history]
            assert shown == [(point.step, point.metrics[key]) for point in points]


def has_checkpoint(trial: TrialFolder) -> bool:
    """Whether it can go on from one: a folder may be half of one yet."""
    return any(read_committed(trial, step) for step in trial.steps("checkpoints"))


def _last_state(trial: TrialFolder) -> dict[str, object]:
    found = read_checkpoint(trial, STEPS)
    assert found is not None
    return vars(found[0])


def wait_until(met: Callable[[], bool], otherwise: str) -> None:
    """Look every 50 ms."""
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


@pytest.fixture
def ended() -> Callable[[OwnProcesses, str], None]:
    """Waits for the end of a submission's driver that was launched on this machine."""
    return lambda processes, name: wait_until(
        lambda: processes.state(name) != "running", f"{name} does not end"
    )


@pytest.fixture(scope="module")
def make_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Makes labs, and ends what they left running."""
    made: list[Lab] = []

    def make(study: str = STUDY, storage: str | None = None) -> Lab:
        made.append(Lab(tmp_path_factory.mktemp("lab") / "lab", study, storage))
        return made[-1]

    yield make
    for lab in made:
        lab.close()


@dataclass(frozen=True)
class Reference:
    """The tiny study, run without any misfortune."""

    lab: Lab
    said: Said


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """Run by the first process of the test run that wants it, and shared by all."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    said = shared / "reference.json"
    with FileLock(shared / "reference.lock"):
        lab = Lab(shared / "reference")
        if not said.exists():
            said.write_text(json.dumps(asdict(lab.call("run", "tiny.yaml"))))
    yield Reference(lab, Said(**json.loads(said.read_text())))
    lab.close()
