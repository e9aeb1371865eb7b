"""Trains a trial and probes it, in a process of its own, and says what it has learned."""

from __future__ import annotations

import time
from typing import NamedTuple

import ray
import torch

from mimlab.data.segments import Place
from mimlab.probe.task import ProbeOrder, probe_baselines, probe_export
from mimlab.storage.folders import SubmissionFolder, TrialFolder
from mimlab.storage.records import ProbeRecord
from mimlab.storage.store import Store
from mimlab.train.session import Session
from mimlab.train.worker_config import WorkerConfig


class Job(NamedTuple):
    """A trial of a submission, written but not run, and its probe `knn`."""

    worker: WorkerConfig
    order: ProbeOrder


class Learned(NamedTuple):
    """kNN top-1 of one trial's encoder before and after training."""

    steps: int
    num_train: int
    num_fit: int
    """Images whose neighbourhood is searched."""
    num_test: int
    untrained: float
    trained: float
    raw_pixels: float
    """Of the images themselves."""
    seconds: float
    """Of building, training and probing, on one core."""

    @property
    def gain(self) -> float:
        return self.trained - self.untrained


def join_ray(address: str, python_path: str) -> None:
    """Use the Ray that runs at `address`; its processes import what this one does."""
    ray.init(
        address=address,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": python_path}},
    )


def learn(job: Job) -> Learned:
    """Train and probe the trial in this process, which has joined Ray."""
    started = time.perf_counter()
    trial = TrialFolder(Store(job.worker.storage), job.worker.trial_id)
    submission = SubmissionFolder(trial.store, job.worker.submission_id)
    session = Session(job.worker, trial, Place(), torch.device("cpu"))
    outcome = session.run()
    assert outcome.state == "finished", outcome
    order = job.order.model_dump(mode="json")
    probe_export(order, trial.id, outcome.step, ["knn"])
    probe_baselines(order, submission.id)
    (probed,) = trial.probes()
    return Learned(
        steps=outcome.step,
        num_train=session.split.num_rows,
        num_fit=probed.num_fit,
        num_test=probed.num_test,
        untrained=_baseline(submission, "random-init"),
        trained=probed.metrics["probe/knn/top1"],
        raw_pixels=_baseline(submission, "raw-pixels"),
        seconds=time.perf_counter() - started,
    )


def _baseline(submission: SubmissionFolder, name: str) -> float:
    path = submission.file(f"baselines/{name}-knn.json")
    record = submission.store.read_record(path, ProbeRecord)
    assert record is not None, path
    return record.metrics[f"baseline/{name}/knn/top1"]
