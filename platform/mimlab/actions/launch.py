"""What starts a driver elsewhere: the Jobs API of a Ray cluster, or a process of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Launcher(Protocol):
    """Starts `mimlab` with given words, so that it outlives whoever asked for it.

    Every method raises NotNow where a cluster has to be asked that does not answer.
    """

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        """Start `mimlab WORDS` for a submission, once more where it was started before.

        Args:
            submission_id: the submission, whose latest start the other methods tell of.
            words: the command line after `mimlab`.
            working_dir: a zip file that is unpacked where it runs: the packages that run, and
                files that the words name; None: what is installed there.

        Raises UserError where it cannot be started.
        """
        ...

    def state(self, submission_id: str) -> str | None:
        """`pending`, `running`, `ended` or `failed`; None where nothing was started."""
        ...

    def log_tail(self, submission_id: str, lines: int) -> str:
        """The last lines of what it said; empty where nothing was started."""
        ...

    def page(self, submission_id: str) -> str | None:
        """The address of a page about the latest start; None where there is no such page."""
        ...

    def stop(self, submission_id: str) -> None:
        """SIGTERM: trials save, and end as preempted. Nothing happens where nothing runs."""
        ...


@runtime_checkable
class Handing(Launcher, Protocol):
    """Hands what it is to start on to another launcher, e.g. when it is its turn."""

    @property
    def launcher(self) -> Launcher: ...


def innermost(launcher: Launcher) -> Launcher:
    """What starts drivers in the end."""
    while isinstance(launcher, Handing):
        launcher = launcher.launcher
    return launcher


def tail(text: str, lines: int) -> str:
    """The last lines of a text."""
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""
