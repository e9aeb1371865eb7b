"""Ray Data for the work of an import: quiet, in order, and started only where none runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.data import DataContext

OBJECT_STORE_BYTES = 256 << 20
"""Tasks pass each other files, not images: only names and digests go through the object store."""


@contextmanager
def ray_running() -> Iterator[None]:
    """Ray as the caller started it, or else a local one that ends with the block."""
    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def task_results(
    task: Callable[..., dict[str, Any]], items: list[dict[str, Any]], fixed: dict[str, Any]
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run `task(item, **fixed)` as a Ray task for each item; gives the results in their order."""
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    try:
        with DataContext.current(context):
            listed = ray.data.from_items(items, override_num_blocks=len(items))
            yield iter(listed.map(task, fn_kwargs=fixed).iter_rows())
    finally:
        log.setLevel(level)
