"""Drivers that are processes of this machine: they outlive their caller, and can be asked about."""

from __future__ import annotations

import errno
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.actions.own_processes import OwnProcesses, ProcessRecord
from mimlab.errors import UserError
from mimlab.storage.machine import process_born
from mimlab.storage.store import Store

PATIENCE_S = 200.0
WAITING = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"


def wait_for(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def processes(tmp_path: Path) -> OwnProcesses:
    return OwnProcesses(Store(tmp_path))


def package(folder: Path, main: str) -> Path:
    """Stands for mimlab's code: what is sent along is what runs."""
    path = folder / "driver.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("mimlab/__init__.py", "mimlab/cli/__init__.py"):
            archive.writestr(name, "")
        archive.writestr("mimlab/cli/main.py", main)
    return path


def test_it_runs_the_code_that_was_sent_and_tells_how_it_ended(processes, tmp_path: Path) -> None:
    main = "import sys\nprint('told', *sys.argv[1:])\nsys.exit(len(sys.argv) - 2)\n"
    assert processes.state("one") is None and processes.log_tail("one", 9) == ""
    processes.start("one", ["supervise"], package(tmp_path, main))
    wait_for(lambda: processes.state("one") == "ended")
    assert processes.log_tail("one", 9) == "told supervise"
    processes.start("two", ["supervise", "x"], package(tmp_path, main))
    wait_for(lambda: processes.state("two") == "failed")


def test_it_runs_once_at_a_time_and_can_be_stopped(processes, tmp_path: Path) -> None:
    code = package(tmp_path, WAITING)
    processes.start("one", ["supervise"], code)
    wait_for(lambda: processes.log_tail("one", 9) == "begun")
    with pytest.raises(UserError, match="run on this machine already"):
        processes.start("one", ["supervise"], code)
    again = OwnProcesses(Store(tmp_path))  # another process would see the same
    assert again.state("one") == "running"
    again.stop("one")
    wait_for(lambda: again.state("one") == "failed")
    processes.stop("one")  # nothing happens


@pytest.mark.parametrize("damaged", [b"", b'{"pid": '])
def test_a_damaged_record_is_none_and_another_start_goes_on(
    processes, tmp_path: Path, damaged: bytes
) -> None:
    record = tmp_path / "launches" / "one" / "process.json"
    record.parent.mkdir(parents=True)
    record.write_bytes(damaged)
    assert processes.state("one") is None
    processes.stop("one")  # nothing happens
    processes.start("one", ["supervise"], package(tmp_path, "print('told')\n"))
    wait_for(lambda: processes.state("one") == "ended")
    assert [path.name for path in record.parent.iterdir() if path.name.startswith(".")] == []


def test_damaged_code_is_said_in_words_and_starts_nothing(processes, tmp_path: Path) -> None:
    code = tmp_path / "code.zip"
    code.write_bytes(b"PK")
    with pytest.raises(UserError, match="code to run is damaged"):
        processes.start("one", ["supervise"], code)
    assert processes.state("one") is None


def test_what_cannot_be_recorded_does_not_run(
    processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def full(self, path: str, record: ProcessRecord) -> None:
        pids.append(record.pid)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Store, "write_record", full)
    with pytest.raises(OSError, match="No space"):
        processes.start("one", ["supervise"], package(tmp_path, WAITING))
    (pid,) = pids
    assert process_born(pid) is None
