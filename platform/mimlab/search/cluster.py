"""The Ray that a study runs on: started here, quiet, and ended with the driver."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.data import DataContext

from mimlab.search.placement import Capacity

RAY_ENVIRONMENT = {
    # A report, and so a stop or a restart, waits for the controller's next look.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    # The second version re-reads every footer at each epoch.
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_DEDUP_LOGS": "1",
    # The driver handles Ctrl-C: it asks the trials to save.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Results live in the storage folder; Ray's own copies are not kept up to date.
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Settings of every process of the cluster, unless the user's environment says otherwise."""

QUIET_LOGGERS = ("ray", "ray.tune", "ray.train", "ray.data", "alembic", "mlflow")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that is ready to run trials."""

    capacity: Capacity


@contextlib.contextmanager
def local_cluster(log_folder: Path) -> Iterator[Cluster]:
    """A Ray on this machine for the duration of the context.

    Its processes die with this one, also when it is killed. Ray's own output goes to its log files,
    which `log_folder`/ray-logs points to.
    """
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.init(
        address="local",
        num_cpus=_usable_cpus(),
        # Train frees the resources of a trial whose process died through the dashboard's API.
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {k: os.environ[k] for k in RAY_ENVIRONMENT}},
    )
    try:
        DataContext.get_current().enable_progress_bars = False
        _link_logs(log_folder)
        resources = ray.cluster_resources()
        yield Cluster(Capacity(resources.get("CPU", 0.0), resources.get("GPU", 0.0)))
    finally:
        ray.shutdown()


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _link_logs(log_folder: Path) -> None:
    context = ray.get_runtime_context()
    session_dir = Path(context.get_temp_dir()) / context.get_session_name()
    log_folder.mkdir(parents=True, exist_ok=True)
    link = log_folder / "ray-logs"
    link.unlink(missing_ok=True)
    link.symlink_to(session_dir / "logs")
