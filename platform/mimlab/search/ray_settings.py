"""Settings of Ray where a study runs. Imports no Ray, which reads some when it is imported."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from mimlab.search.head import named_head

SETTINGS = {
    # A restart or an end waits for the controller's next look.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    # The second version re-reads every footer at each epoch.
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # No preemption to watch for on one's own machine: one process less for each trial.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Probes step back to the lowest priority; training keeps that of any program of the user.
    "RAY_worker_niceness": "0",
    # A process that has imported torch once serves the next probe, too.
    "RAY_idle_worker_killing_time_threshold_ms": "300000",
    # Threads that wait for each other spin a little, for small steps, and not for long: cores are
    # shared with reading and probing.
    "GOMP_SPINCOUNT": "30000",
    # The newer output prints a box even when it is told to be silent.
    "RAY_AIR_NEW_OUTPUT": "0",
    # A death that is made good is no news; every line of Ray's processes is in its log files.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",
    # The driver handles Ctrl-C: it asks the trials to save.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Results live in the storage folder; Ray's own copies need not be fresh.
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # A driver that `ray job submit` started ships its code beside what the job was given.
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
}


def apply() -> None:
    """Set what the user's environment does not. Call it before Ray is imported.

    A Ray that is started here gets a token of its own, which only this process and its children
    know; one that is joined has the user's. Where Ray is imported already its own way stays: half
    the processes would not know of ours.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "ray" in sys.modules:
        return
    if named_head() is None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        apply_token()


def apply_token() -> None:
    """Show the user's token, if there is one, to a head that others have started."""
    if _has_token():
        # As `ray start` does; whoever names a head has to say so itself.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _has_token() -> bool:
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or Path("~/.ray/auth_token").expanduser().is_file()
