"""What makes a supervisor start its driver again, wait, or give up: with stand-ins for drivers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mimlab.exits import CRASHED, DONE, FAILED, INTERRUPTED, REFUSED, UNAVAILABLE
from mimlab.search.supervisor import Patience, Supervisor
from mimlab.storage import lease
from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.records import SubmissionRecord
from mimlab.storage.store import Store

HASTE = Patience(first_wait_s=0.05, longest_wait_s=0.4, fruitless_deaths=4, grace_s=1.0)

DRIVER = """
import json, os, pathlib, signal, sys
starts = pathlib.Path("starts")
number = len(starts.read_text()) if starts.exists() else 0
starts.write_text("x" * (number + 1))
def tell():
    with os.fdopen(int(os.environ["MIMLAB_SUPERVISOR"]), "w") as pipe:
        json.dump({"storage": os.getcwd(), "submission": "study-1"}, pipe)
def gain(what):
    path = pathlib.Path("trials/trial", what)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
"""
"""Of a stand-in: `number` counts the starts before this one."""


class Watched(NamedTuple):
    """What a supervisor made of a driver."""

    code: int
    said: list[str]
    starts: int
    known: list[str | None]
    """The submission that each start was given."""


@pytest.fixture
def terminal() -> Iterator[None]:
    """A hang-up ends processes, which `nohup` would have them ignore."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def supervise(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: None,
) -> Callable[..., Watched]:
    """Supervises a program that runs in a storage with one submission."""
    monkeypatch.chdir(tmp_path)
    record = SubmissionRecord(
        id="study-1",
        study="study",
        question="",
        study_hash="",
        study_file="",
        trial_ids=["trial"],
        created="",
        user="",
        host="",
        code_fingerprint="",
        tracking_uri="",
        environment={},
    )
    folder = SubmissionFolder(Store(tmp_path), "study-1")
    folder.store.write_record(folder.file("submission.json"), record)

    def run(program: str, head: str | None = None) -> Watched:
        said: list[str] = []
        known: list[str | None] = []

        def command(submission: SubmissionFolder | None) -> list[str]:
            known.append(submission and submission.id)
            return [sys.executable, "-c", DRIVER + program]

        code = Supervisor(command, said.append, head=head, patience=HASTE).run()
        return Watched(code, said, len((tmp_path / "starts").read_text()), known)

    return run


@pytest.mark.parametrize("code", [DONE, FAILED, REFUSED])
def test_an_end_is_an_end(supervise, code: int) -> None:
    watched = supervise(f"sys.exit({code})")
    assert (watched.code, watched.said, watched.starts) == (code, [], 1)


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        (f"sys.exit({CRASHED})", "crashed"),
        (f"sys.exit({INTERRUPTED})", "was interrupted"),
        ("sys.exit(134)", "died with exit code 134"),
    ],
)
def test_a_death_is_one_line_and_another_start(supervise, death: str, words: str) -> None:
    watched = supervise(f"if number == 0: {death}")
    assert watched.code == DONE and watched.starts == 2
    (line,) = watched.said
    assert line.startswith(f"the driver {words}; start 2 in ")


def test_deaths_without_progress_wait_longer_and_end_it(supervise) -> None:
    watched = supervise(f"tell(); sys.exit({CRASHED})")
    assert watched.code == FAILED
    # The first one may have gained what was there; the limit is of those in a row after it.
    assert watched.starts == 1 + HASTE.fruitless_deaths
    waits = [line.rpartition(" in ")[2] for line in watched.said[:-1]]
    assert waits == ["0.05 s", "0.1 s", "0.2 s", "0.4 s"]
    assert watched.said[-1].startswith("gave up: the driver crashed, the last of 4 deaths in a row")
    assert "submissions/study-1" in watched.said[-1]


@pytest.mark.parametrize(
    "gained", ["journal/{:09d}.jsonl", "checkpoints/step_{:09d}/part", "probes/knn-{:09d}.json"]
)
def test_progress_resets_the_count(supervise, gained: str) -> None:
    program = f"tell(); gain({gained!r}.format(number + 1)); sys.exit({CRASHED} * (number < 9))"
    watched = supervise(program)
    assert (watched.code, watched.starts) == (DONE, 10)
    assert {line.rpartition(" in ")[2] for line in watched.said} == {"0.05 s"}


def test_a_driver_that_never_came_to_a_submission_is_not_started_for_ever(supervise) -> None:
    watched = supervise(f"sys.exit({CRASHED})")
    assert (watched.code, watched.starts) == (FAILED, HASTE.fruitless_deaths)


def test_the_next_start_knows_the_submission(supervise) -> None:
    program = f"number == 1 and tell(); sys.exit({CRASHED} * (number < 3))"
    assert supervise(program).known == [None, None, "study-1", "study-1"]


def test_exit_code_1_of_a_driver_that_kept_its_lease_is_a_death(supervise) -> None:
    """Ray, too, ends a process with 1, without a chance to release anything."""
    submission = SubmissionFolder(Store(Path.cwd()), "study-1")
    own = lease.acquire(submission)
    watched = supervise("tell(); sys.exit(1 * (number == 0))")
    assert (watched.code, watched.starts) == (DONE, 2)
    own.release()
    assert supervise("tell(); sys.exit(1)").code == FAILED


def send(number: int, when: Callable[[], bool]) -> None:
    """A signal to this process, from another thread, as soon as `when()`."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not when() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, daemon=True).start()


CAREFUL = """
def end(number, frame):
    pathlib.Path("told").write_text(signal.Signals(number).name)
    sys.exit({code})
signal.signal(signal.SIGINT, end)
signal.signal(signal.SIGTERM, end)
pathlib.Path("ready").write_text("")
signal.pause()
"""


@pytest.mark.parametrize(
    ("number", "told", "code"),
    [
        (signal.SIGINT, "SIGINT", FAILED),
        (signal.SIGTERM, "SIGTERM", INTERRUPTED),
        (signal.SIGHUP, "SIGTERM", INTERRUPTED),
    ],
)
def test_a_stop_is_passed_on_and_waited_for(
    supervise, number: signal.Signals, told: str, code: int
) -> None:
    send(number, Path("ready").exists)
    watched = supervise(CAREFUL.format(code=code))
    assert (watched.code, watched.starts, watched.said) == (code, 1, [])
    assert Path("told").read_text() == told


def test_a_driver_that_does_not_stop_in_time_is_killed(supervise) -> None:
    send(signal.SIGTERM, Path("ready").exists)
    deaf = CAREFUL.format(code=0).replace("sys.exit(0)", "pass")
    watched = supervise(deaf.replace("signal.pause()", "while True: signal.pause()"))
    assert (watched.code, watched.starts) == (INTERRUPTED, 1)
    assert Path("told").read_text() == "SIGTERM"


@pytest.fixture
def head() -> Iterator[socket.socket]:
    """A port where nothing listens until the test says so."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def test_it_waits_for_the_head_to_come_back(supervise, head: socket.socket) -> None:
    address = f"127.0.0.1:{head.getsockname()[1]}"
    threading.Timer(1.0, head.listen).start()
    watched = supervise(f"sys.exit({INTERRUPTED} * (number == 0))", address)
    assert (watched.code, watched.starts) == (DONE, 2)
    assert watched.said[1:] == [f"waiting for a Ray head at {address}"]


def test_a_stop_while_it_waits_ends_it(supervise, head: socket.socket) -> None:
    send(signal.SIGINT, Path("starts").exists)
    watched = supervise(f"sys.exit({INTERRUPTED})", f"127.0.0.1:{head.getsockname()[1]}")
    assert watched.starts == 1
    assert watched.code in (FAILED, INTERRUPTED)  # its own, where the driver still lived


def test_a_driver_ends_with_its_supervisor(tmp_path: Path) -> None:
    program = (
        "from mimlab.search.supervisor import Supervisor; import sys;"
        "Supervisor(lambda _: [sys.executable, '-c', sys.argv[1]], print).run()"
    )
    driver = DRIVER + CAREFUL.format(code=INTERRUPTED)
    supervisor = subprocess.Popen([sys.executable, "-c", program, driver], cwd=tmp_path)
    for name in ("ready", "told"):
        deadline = time.monotonic() + 60
        while not (tmp_path / name).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        supervisor.kill()
    assert (tmp_path / "told").read_text() == "SIGTERM"
    supervisor.wait()


def test_storage_that_is_away_is_waited_for_without_end(supervise) -> None:
    times = 3 * HASTE.fruitless_deaths
    program = (
        "tell(); there = pathlib.Path('submissions'), pathlib.Path('elsewhere')\n"
        f"if number == 0: there[0].rename(there[1])\n"
        f"if number == {times}: there[1].rename(there[0])\n"
        f"sys.exit({INTERRUPTED} * (number < {times}))"
    )
    watched = supervise(program)
    assert (watched.code, watched.starts) == (DONE, 1 + times)


def test_missing_nodes_are_waited_for_without_end(supervise) -> None:
    watched = supervise(
        f"tell(); sys.exit({UNAVAILABLE} * (number < 3 * {HASTE.fruitless_deaths}))"
    )
    assert (watched.code, watched.starts) == (DONE, 1 + 3 * HASTE.fruitless_deaths)
    assert {line.split("; ")[0] for line in watched.said} == {"the driver lacked nodes or storage"}
    assert {line.rpartition(" in ")[2] for line in watched.said} == {f"{HASTE.longest_wait_s} s"}
