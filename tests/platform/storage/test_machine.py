"""Processes and machines are told apart without clocks and host names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from mimlab.storage.machine import machine, process_born


def told_by(*command: str) -> str:
    program = "from mimlab.storage.machine import machine; print(machine())"
    said = subprocess.run([*command, sys.executable, "-c", program], capture_output=True, text=True)
    return said.stdout.strip()


def test_another_process_here_names_the_same_machine() -> None:
    assert told_by() == machine()


def test_another_namespace_of_processes_is_another_machine() -> None:
    apart = ("unshare", "--pid", "--fork", "--mount-proc")
    if (
        not shutil.which("unshare")
        or subprocess.run([*apart, "true"], capture_output=True).returncode
    ):
        pytest.skip("no new namespaces here")
    assert told_by(*apart) not in ("", machine())


def test_a_birth_is_kept_for_life_and_no_two_numbers_are_mixed_up() -> None:
    own = process_born(os.getpid())
    time.sleep(0.05)
    assert own is not None and own == process_born(os.getpid())
    assert process_born(1) != own


def test_the_dead_and_zombies_were_not_born() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + 30
    while process_born(process.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process_born(process.pid) is None  # not reaped yet
    process.wait()
    assert process_born(process.pid) is None


def test_where_there_is_no_proc_the_clock_tells_lives_apart(monkeypatch, tmp_path) -> None:
    """As on macOS."""
    monkeypatch.setattr("mimlab.storage.machine.PROC", tmp_path / "none")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = process_born(process.pid)
    assert born is not None and born == process_born(process.pid)
    assert machine() == machine() != ""
    process.communicate(b"\n")
    assert process_born(process.pid) is None
