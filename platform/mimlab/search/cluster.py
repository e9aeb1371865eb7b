"""The Ray that a study runs on: started here, quiet, and ended with the driver, or joined."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray
import torch
from ray.data import DataContext

import mimlab
import mimlab_objectives
from mimlab.errors import NotNow
from mimlab.exits import INTERRUPTED
from mimlab.search import ray_settings
from mimlab.search.head import is_up, named_head
from mimlab.search.placement import Capacity
from mimlab.search.watch import watched
from mimlab_objectives.plugins import load_plugins

OBJECT_STORE_BYTES = 2 << 30
"""Ray Data reads ahead while there is room; a window of ImageNet's JPEGs is 0.5 GiB."""
OBJECT_STORE_SHARE = 0.3
"""Of the machine's memory at most, as Ray's own default."""

JOIN_S = 60.0
"""A cluster that has not let this process in by then does not: Ray itself would ask for ever."""

STARTS = 3
"""Of a Ray on this machine, which on a busy one is not up within Ray's own 30 s."""
TOO_LATE = "timed out during startup"
"""In the words of `ray._private.node.Node`, whose exception has no class of its own."""

NODE_GROUP = "ray.io/node-group"
"""A label: the kind of a node, as KubeRay and `ray up` name it (docs.ray.io, "Use labels to control
scheduling"); what `ray start` alone has made has none."""

QUIET_LOGGERS = ("ray", "ray.train", "ray.data", "alembic", "mlflow")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that is ready to run trials."""

    is_local: bool
    """Whether it is this machine alone, for this driver alone."""

    def capacity(self) -> Capacity:
        """What it has now: nodes come and go."""
        resources = ray.cluster_resources()
        return Capacity(resources.get("CPU", 0.0), resources.get("GPU", 0.0))

    def grows(self) -> bool:
        """Whether something may add nodes: what does gives each the name of its kind."""
        return any(NODE_GROUP in node["Labels"] for node in ray.nodes())


@contextlib.contextmanager
def driver_cluster(log_folder: Path) -> Iterator[Cluster]:
    """The cluster that RAY_ADDRESS names, else one on this machine, for as long as it lives.

    Once it is lost, this process ends at once with exit code 75, because nothing that waits for Ray
    would. To be entered in the main thread. Raises NotNow if there is no such cluster now.
    """
    head = named_head()
    place = "the Ray on this machine" if head is None else f"the Ray cluster at {head}"

    def end(reason: str) -> None:
        _end(f"{place} is lost: {reason}; the same command goes on from the last checkpoints")

    opened = local_cluster(log_folder) if head is None else _joined(head, log_folder)
    with opened as cluster, watched(end):
        yield cluster


def _end(words: str) -> None:
    print(f"error: {words}", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def local_cluster(log_folder: Path) -> Iterator[Cluster]:
    """A Ray on this machine for the duration of the context.

    It has one logical CPU more than there are cores: reading and probing mostly wait, and share the
    cores with training instead of keeping one for themselves.
    Its processes die with this one, also when it is killed. Ray's own output goes to its log files,
    which `log_folder`/ray-logs points to. Raises NotNow if it is not up after several tries.
    """
    _quieten()
    _start()
    with _connected(log_folder):
        yield Cluster(is_local=True)


def _start() -> None:
    for _ in range(STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=_logical_cpus(),
                object_store_memory=_object_store_bytes(),
                # Train frees the resources of a trial whose process died through the dashboard's
                # API.
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=shipped_plugins(),
            )
            return
        except Exception as error:
            if TOO_LATE not in str(error):
                raise
            ray.shutdown()
    raise NotNow(
        f"Ray did not start on this machine in {STARTS} tries of 30 s: it is too busy, or short of "
        "memory; the same command tries again"
    )


@contextlib.contextmanager
def _joined(head: str, log_folder: Path) -> Iterator[Cluster]:
    """A cluster that others have started; this machine is one of its nodes.

    Its processes get this driver's code and settings.
    """
    _quieten()
    if not is_up(head):
        raise NotNow(f"no Ray cluster answers at {head} (RAY_ADDRESS); start one, or unset it")
    silence = f"the Ray cluster at {head} lets nobody in; is RAY_AUTH_TOKEN that of its head?"
    too_long = threading.Timer(JOIN_S, _end, [silence])
    too_long.daemon = True
    too_long.start()
    try:
        ray.init(
            address=head,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={
                "py_modules": _shipped_code(),
                "env_vars": {name: os.environ[name] for name in ray_settings.SETTINGS},
            },
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise NotNow(
            f"the Ray cluster at {head} (RAY_ADDRESS) cannot be joined: {error}"
        ) from error
    finally:
        too_long.cancel()
    with _connected(log_folder):
        yield Cluster(is_local=False)


def _quieten() -> None:
    ray_settings.apply()
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    # A trial whose process died is no error yet: it is started again, and its folder tells.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _connected(log_folder: Path) -> Iterator[None]:
    try:
        DataContext.get_current().enable_progress_bars = False
        _link_logs(log_folder)
        yield
    finally:
        ray.shutdown()


def _shipped_code() -> list[str]:
    """This driver's own packages, whatever the nodes have installed, and its plug-ins."""
    own = [str(Path(package.__path__[0])) for package in (mimlab, mimlab_objectives)]
    return own + (shipped_plugins() or {}).get("py_modules", [])


def shipped_plugins() -> dict[str, list[str]] | None:
    """The runtime environment by which Ray's processes find the plug-ins that are installed here.

    Their metadata goes with the code: a process finds its entry points as it would find those of
    an installed package. None where there is none, because preparing one takes time.
    """
    plugins = load_plugins()
    paths = [path for plugin in plugins for path in (plugin.code, plugin.metadata) if path]
    return {"py_modules": [str(path) for path in dict.fromkeys(paths)]} if paths else None


def local_capacity() -> Capacity:
    """What `local_cluster` is going to have, without starting it."""
    return Capacity(cpus=float(_logical_cpus()), gpus=float(torch.cuda.device_count()))


def _object_store_bytes() -> int:
    """Of a Ray that is started here: what is read ahead of training fits, and no more is taken."""
    return min(OBJECT_STORE_BYTES, int(OBJECT_STORE_SHARE * psutil.virtual_memory().total))


def _logical_cpus() -> int:
    """One more than the cores that this process may use."""
    return len(os.sched_getaffinity(0)) + 1


def _link_logs(log_folder: Path) -> None:
    context = ray.get_runtime_context()
    session_dir = Path(context.get_temp_dir()) / context.get_session_name()
    log_folder.mkdir(parents=True, exist_ok=True)
    link = log_folder / "ray-logs"
    link.unlink(missing_ok=True)
    link.symlink_to(session_dir / "logs")
