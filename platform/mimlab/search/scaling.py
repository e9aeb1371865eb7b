"""How many workers a trial trains with, where the study gives a range: as many as are free.

Ray Train asks a policy before it starts workers and, while they train, every `elastic_resize_
monitor_interval_s`. Ray's own policy (2.60) reckons with whole nodes, so that nothing would be left
for reading and probing, and with what was free up to 20 s ago.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.constants import WORKER_GROUP_START_TIMEOUT_S_ENV_VAR
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ScalingDecision,
)

from mimlab.search.placement import ROUNDING
from mimlab.spec.study import Resources
from mimlab.spec.workers import WorkerRange

Reserved = dict[str, dict[str, float]]
"""Node → resource → how much of it is reserved for a trial's workers."""

RESIZE_S = 60.0
"""Between two looks at whether more workers would fit: a resize costs a start."""
START_TIMEOUT_S = 20.0
"""Workers that have no place by then are tried again in another number: Ray learns of a dead node
only after some seconds, and until then reckons with it. A place takes no time where there is one;
processes and environments are not started within it."""
POLL_S = 1.0
"""Between two looks while too few workers fit."""
ASK_TIMEOUT_S = 5.0


@dataclass
class RangeScaling(ScalingConfig):
    """A range of workers, and what else a trial needs of the cluster."""

    __no_type_check__ = True  # Ray's own annotations are of a kind that beartype warns of

    beside_cpus: float = 0.0

    @property
    def _trainer_resources_not_none(self) -> dict[str, float]:
        """What Ray reserves before the workers."""
        return {"CPU": self.beside_cpus}


class RoomPolicy(ElasticScalingPolicy):
    """Counts what is reserved for the trial's workers, as it is now."""

    scaling_config: RangeScaling

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        # Of the controller, a process of this trial's own.
        os.environ[WORKER_GROUP_START_TIMEOUT_S_ENV_VAR] = str(START_TIMEOUT_S)
        super().after_controller_start(train_run_context)

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        decision = super().make_decision_for_non_running_worker_group()
        if isinstance(decision, NoopDecision):
            time.sleep(POLL_S)  # the controller asks again at once
        return decision

    def _get_reserved_resources(self) -> Reserved | None:
        # An actor's, which its type does not tell.
        asked: Any = self._autoscaling_coordinator.get_reserved_resources
        # What cannot be asked now is asked again; the answer from before holds meanwhile.
        with contextlib.suppress(RayError):
            ray.get(asked.remote(self._requester_id, recompute=True), timeout=ASK_TIMEOUT_S)
        return super()._get_reserved_resources()

    def _count_possible_workers(self, reserved_resources: Reserved) -> int:
        config = self.scaling_config
        beside = config.beside_cpus
        per_worker = cast(dict[str, float], config._resources_per_worker_not_none)
        count = workers_in(list(reserved_resources.values()), per_worker, beside_cpus=beside)
        return min(count, config.max_workers)


def workers_in(
    nodes: list[dict[str, float]], per_worker: dict[str, float], *, beside_cpus: float
) -> int:
    """Workers that fit into what is reserved of each node, the first of which also has what a
    trial needs beside them."""
    count = 0
    for number, node in enumerate(nodes):
        kept = {"CPU": beside_cpus} if number == 0 else {}
        count += min(
            max(0, math.floor((node.get(name, 0.0) - kept.get(name, 0.0)) / amount + ROUNDING))
            for name, amount in per_worker.items()
        )
    return count


class RangeTrainer(TorchTrainer):
    """Trains with as many workers as fit."""

    def _initialize_and_run_controller(self, **controller_init_kwargs: Any) -> Any:
        assert isinstance(self.scaling_config, RangeScaling)
        given = controller_init_kwargs | {"scaling_policy": RoomPolicy(self.scaling_config)}
        return super()._initialize_and_run_controller(**given)


def scaling_of(
    resources: Resources, *, beside_cpus: float, resize_s: float = RESIZE_S
) -> ScalingConfig:
    """Ray Train's form of a trial's resources."""
    per_worker = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        per_worker["GPU"] = resources.gpus_per_worker
    use_gpu = resources.gpus_per_worker > 0
    if not isinstance(resources.workers, WorkerRange):
        return ScalingConfig(
            num_workers=resources.workers, use_gpu=use_gpu, resources_per_worker=per_worker
        )
    return RangeScaling(
        num_workers=(resources.workers.fewest, resources.workers.most),
        use_gpu=use_gpu,
        resources_per_worker=per_worker,
        elastic_resize_monitor_interval_s=resize_s,
        beside_cpus=beside_cpus,
    )
