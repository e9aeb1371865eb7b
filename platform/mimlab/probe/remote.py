"""Probes as Ray tasks: the process steps back before it imports anything that takes time."""

from __future__ import annotations

import os
import sys
from typing import Any

LOWEST_PRIORITY = 19
"""Of processes, as `nice` counts them."""

OWN_PROCESSES = {"env_vars": {"MIMLAB_PROCESS": "probe"}}
"""A runtime environment by which Ray keeps these processes apart: none of them trains later."""


def probe_export(order: dict[str, Any], trial_id: str, step: int, labels: list[str]) -> None:
    """`mimlab.probe.task.probe_export`, giving way to training."""
    _give_way()
    from mimlab.probe import task
    from mimlab_objectives.lean_torch import without_compiler

    with without_compiler():
        task.probe_export(order, trial_id, step, labels)


def probe_baselines(order: dict[str, Any], submission_id: str) -> None:
    """`mimlab.probe.task.probe_baselines`, giving way to training."""
    _give_way()
    from mimlab.probe import task
    from mimlab_objectives.lean_torch import without_compiler

    with without_compiler():
        task.probe_baselines(order, submission_id)


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    if sys.platform == "linux":
        # Training that wakes up takes the core back at once, not at the end of a time slice.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
