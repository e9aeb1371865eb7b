"""Which machine this is and which process runs on it, without asking a clock or a host's name.

Clones and containers share host names, and set clocks move the times at which processes began:
the kernel's boot id, its namespace of process numbers and its ticks since boot do neither
(proc(5), man7.org/linux/man-pages/man5/proc.5.html).
"""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import psutil

PROC = Path("/proc/self/stat")
"""Linux alone has it; elsewhere a host's name, its network card and the clock have to do."""


def machine() -> str:
    """Equal for two processes if and only if they see the same processes under the same numbers."""
    if not PROC.exists():
        return f"{socket.gethostname()}/{uuid.getnode():x}"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot_id}/{Path('/proc/self/ns/pid').readlink()}"


def process_born(pid: int) -> int | None:
    """Clock ticks from the machine's start to the process's; None where none lives. Elsewhere than
    on Linux the second at which it began.

    A zombie counts as dead.
    """
    if not PROC.exists():
        return _second_of(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the program's name may hold anything
    return None if state in "ZX" else int(fields[18])


def _second_of(pid: int) -> int | None:
    try:
        process = psutil.Process(pid)
        born = round(process.create_time())
        return None if process.status() == psutil.STATUS_ZOMBIE else born
    except psutil.NoSuchProcess:
        return None
