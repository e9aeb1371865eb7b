"""Ray Data for the work of imports and encodings: quiet, and started only where none runs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.data import DataContext
from ray.exceptions import RayError, RayTaskError

from mimlab.errors import UserError

MOST_DEATHS = 3
"""Of processes, one after the other, without a result between."""
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
    GPUs; gives the results as they come, each with the `piece` of its item, which no other has.

    If a process dies, the pool is started again for the items that have no result, and given up as
    `results_of_all` says.
    """

    def run(left: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        listed = ray.data.from_items(left, override_num_blocks=len(left))
        with warnings.catch_warnings():
            # Of Ray 2.60, which has no other way to say it.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            results = listed.map(
                actor,  # pyright: ignore[reportArgumentType]
                fn_constructor_args=arguments,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(left))),
                num_cpus=cpus,
                num_gpus=gpus,
                # Ray's own restarts have no end, and its core warns of them on the terminal.
                max_restarts=0,
            )
        return iter(results.iter_rows())

    with _quiet(ordered=False):
        yield results_of_all(items, run)


def results_of_all(
    items: list[dict[str, Any]],
    run: Callable[[list[dict[str, Any]]], Iterator[dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """The results of `run(items)`, which is called again for the others where a process dies.

    Raises UserError when that has led to no result `MOST_DEATHS` times.
    """
    left, deaths = {item["piece"]: item for item in items}, 0
    while left:
        try:
            for result in run(list(left.values())):
                del left[result["piece"]]
                deaths = 0
                yield result
        except RayTaskError:  # no death: a mistake of this code
            raise
        except RayError as error:
            deaths += 1
            if deaths == MOST_DEATHS:
                raise UserError(
                    f"the processes that work died {deaths} times before they had done anything "
                    "more; they may need more memory: take fewer workers or a smaller batch"
                ) from error


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
