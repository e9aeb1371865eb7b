"""Drivers as processes of this machine that outlive whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import zipfile
import zlib
from pathlib import Path

from mimlab.actions.launch import tail
from mimlab.errors import UserError
from mimlab.storage.machine import machine, process_born
from mimlab.storage.records import Record
from mimlab.storage.store import Store

_WAITING = 'cd "$1" && shift && trap : TERM && { "$@"; echo $? > "$MIMLAB_ENDED"; }'
"""A shell that waits, because nobody else is there to hear the exit code."""
_SAID = "driver.log"
_CODE = "exit"
_RECORD = "process.json"


class ProcessRecord(Record):
    """The latest start of a submission's driver."""

    machine: str
    pid: int
    """Of the shell that leads its process group."""
    process_born: int


class OwnProcesses:
    """A detached `mimlab supervise` for each submission; needs no cluster.

    Its log, and what is unpacked for it, lie in `launches/<submission id>` of the storage's scratch
    folder on this machine.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        """See `Launcher`. Raises UserError where one runs already, or its code is damaged."""
        if self.state(submission_id) == "running":
            raise UserError(f"submission {submission_id} is being run on this machine already")
        folder = self._folder(submission_id)
        folder.mkdir(parents=True, exist_ok=True)
        if working_dir is not None:
            _unpack(working_dir, folder / "code")
        (folder / _CODE).unlink(missing_ok=True)
        cwd = folder / "code" if working_dir is not None else folder
        with (folder / _SAID).open("ab") as said, Path(os.devnull).open("rb") as nothing:
            pid = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", _WAITING, "sh", str(cwd), *_command(words)],
                _environment(cwd, folder / _CODE),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, said.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, said.fileno(), 2),
                ],
                setsid=True,
            )
        record = ProcessRecord(machine=machine(), pid=pid, process_born=process_born(pid) or 0)
        try:
            Store(folder).write_record(_RECORD, record)
        except OSError:
            os.killpg(pid, signal.SIGKILL)  # nobody could find or stop it
            os.waitpid(pid, 0)
            raise

    def state(self, submission_id: str) -> str | None:
        """See `Launcher`."""
        process = self._process(submission_id)
        if process is None:
            return None
        with contextlib.suppress(ChildProcessError):  # not this process's own
            os.waitpid(process.pid, os.WNOHANG)
        if process_born(process.pid) == process.process_born:
            return "running"
        code = self._folder(submission_id) / _CODE
        return "ended" if code.is_file() and code.read_text().strip() == "0" else "failed"

    def log_tail(self, submission_id: str, lines: int) -> str:
        """See `Launcher`."""
        said = self._folder(submission_id) / _SAID
        return tail(said.read_text(errors="replace"), lines) if said.is_file() else ""

    def page(self, submission_id: str) -> None:
        """See `Launcher`."""

    def stop(self, submission_id: str) -> None:
        """See `Launcher`."""
        process = self._process(submission_id)
        if process is not None and process_born(process.pid) == process.process_born:
            os.killpg(process.pid, signal.SIGTERM)

    def _folder(self, submission_id: str) -> Path:
        return self._store.scratch("launches") / submission_id

    def _process(self, submission_id: str) -> ProcessRecord | None:
        """None where nothing was started on this machine, or its record is damaged: another start
        is safe, for only one driver at a time holds a submission's lease."""
        try:
            found = Store(self._folder(submission_id)).read_record(_RECORD, ProcessRecord)
        except UserError:
            return None
        return found if found is not None and found.machine == machine() else None


def _unpack(package: Path, to: Path) -> None:
    """Raises UserError for a package that is damaged."""
    try:
        with zipfile.ZipFile(package) as archive:
            archive.extractall(to)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"the code to run is damaged ({error}); submit or resume again") from error


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "mimlab.cli.main", *words]


def _environment(cwd: Path, ended: Path) -> dict[str, str]:
    """Without what belongs to whoever asked: its Ray and its terminal."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    before = [path for path in (own.get("PYTHONPATH"),) if path]
    return own | {
        "PYTHONPATH": os.pathsep.join([str(cwd), *before]),
        "PYTHONUNBUFFERED": "1",
        "MIMLAB_ENDED": str(ended),
    }
