"""Ray Data for the work of imports and encodings: quiet, and started only where none runs."""

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
    with _quiet(ordered=True):
        listed = ray.data.from_items(items, override_num_blocks=len(items))
        yield iter(listed.map(task, fn_kwargs=fixed).iter_rows())


@contextmanager
def actor_results(
    actor: Callable[..., Callable[[dict[str, Any]], dict[str, Any]]],
    arguments: tuple[Any, ...],
    items: list[dict[str, Any]],
    *,
    workers: int,
    cpus: int,
    gpus: int,
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run a pool of `workers` times `actor(*arguments)` on the items, each with so many CPUs and
    GPUs; gives the results as they come. An actor whose process dies is started again."""
    with _quiet(ordered=False):
        listed = ray.data.from_items(items, override_num_blocks=len(items))
        results = listed.map(
            actor,  # pyright: ignore[reportArgumentType]
            fn_constructor_args=arguments,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=cpus,
            num_gpus=gpus,
        )
        yield iter(results.iter_rows())


@contextmanager
def _quiet(*, ordered: bool) -> Iterator[None]:
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.ERROR)
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = ordered
    try:
        with DataContext.current(context):
            yield
    finally:
        log.setLevel(level)
