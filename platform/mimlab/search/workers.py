"""The Ray Train run of a trial: its workers, started again when they die, more or fewer of them."""

from __future__ import annotations

from typing import Any

from ray.train import FailureConfig, RunConfig
from ray.train.torch import TorchTrainer

from mimlab.search.deaths import Deaths, StopWhileWaiting
from mimlab.search.host_memory import HostMemory
from mimlab.search.resizing import SaveBeforeResize
from mimlab.search.scaling import RESIZE_S, RangeScaling, RangeTrainer, scaling_of
from mimlab.spec.study import Resources, trial_spec
from mimlab.storage.control import withdraw_pause
from mimlab.storage.folders import TrialFolder
from mimlab.train.memory import remedy
from mimlab.train.remote import train_on_worker
from mimlab.train.worker_config import WorkerConfig


def fit(
    told: WorkerConfig,
    trial: TrialFolder,
    resources: Resources,
    *,
    beside_cpus: float,
    resize_s: float = RESIZE_S,
) -> None:
    """Train until the workers leave an outcome. `beside_cpus`: what the trial needs besides them.

    Raises what Ray Train raises where it cannot go on; the trial's folder may say why.
    """
    withdraw_pause(trial)  # of a run whose process died while it resized
    scaling = scaling_of(resources, beside_cpus=beside_cpus, resize_s=resize_s)
    trainer = RangeTrainer if isinstance(scaling, RangeScaling) else TorchTrainer
    advice = remedy(trial_spec(told.spec).train, resources.fewest_workers)
    # Ray takes more kinds of callbacks than it declares.
    callbacks: list[Any] = [
        HostMemory(trial, advice),
        Deaths(trial),
        StopWhileWaiting(trial),
        SaveBeforeResize(trial),
    ]
    trainer(
        train_on_worker,
        train_loop_config=told.model_dump(mode="json"),
        scaling_config=scaling,
        run_config=RunConfig(
            name=f"{trial.id}-{told.attempt}",
            storage_path=str(trial.store.scratch("ray") / told.submission_id),
            # Counted by `Deaths`, which looks at how far they came.
            failure_config=FailureConfig(max_failures=-1),
            callbacks=callbacks,
        ),
    ).fit()
