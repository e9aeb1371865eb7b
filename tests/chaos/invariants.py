"""What must hold at the end, whatever happened on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bits import identical

from chaos.watch import Watch
from mimlab.storage.folders import TrialFolder
from mimlab.storage.journal import read_points
from mimlab.track.settings import prepare_client
from mimlab.train.checkpoint import read_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS

prepare_client()

from mlflow import MlflowClient  # noqa: E402  (imports it once, as a driver does)


def broken(found: Watch, quiet: Watch) -> list[str]:
    """What does not hold of a study that was disturbed; `quiet` is the same one, undisturbed."""
    trial, same = found.trial, quiet.trial
    assert same is not None
    if trial is None:
        return ["there is no submission"]
    return [*_status(found, trial), *_weights(trial, same), *_curves(trial, same), *_shown(trial)]


def _status(found: Watch, trial: TrialFolder) -> Iterator[str]:
    status = trial.status()
    if status.state != "finished":
        yield f"the trial is {status.state}: {status.reason}"
    for resumed in found.events("resumed"):
        if not resumed["same_next_batch"]:
            yield f"other batches after the resume at step {resumed['step']}"
    for compared in found.events("points compared"):
        if compared["differing"]:
            yield f"{compared['differing']} points differ from those recorded before"


def _weights(trial: TrialFolder, same: TrialFolder) -> Iterator[str]:
    one, other = _last_state(trial), _last_state(same)
    if one is None or other is None:
        yield "the last checkpoint is missing"
    elif not identical(one, other):
        yield "the final state is not that of the undisturbed run, bit for bit"


def _last_state(trial: TrialFolder) -> dict[str, Any] | None:
    steps = trial.steps("checkpoints")
    found = read_checkpoint(trial, steps[-1]) if steps else None
    return vars(found[0]) if found else None


def _curves(trial: TrialFolder, same: TrialFolder) -> Iterator[str]:
    points = read_points(trial.store, trial.file("journal"))
    quiet = read_points(same.store, same.file("journal"))
    if [point.seq for point in points] != list(range(1, len(points) + 1)):
        yield "the journal has a gap or a point twice"
    if [point.step for point in points] != [point.step for point in quiet]:
        yield f"the journal has {len(points)} points, and the undisturbed one {len(quiet)}"
        return
    times = [point.time_ms for point in points]
    if times != sorted(times):
        yield "the journal's times go backwards"
    for point, expected in zip(points, quiet, strict=True):
        names = expected.metrics.keys() - VOLATILE_KEYS
        if any(point.metrics.get(name) != expected.metrics[name] for name in names):
            yield f"the figures of step {point.step} differ from the undisturbed run's"
            return


def _shown(trial: TrialFolder) -> Iterator[str]:
    """MLflow against the journal."""
    link = trial.mlflow()
    if link is None:
        yield "MLflow has no run of it"
        return
    client = MlflowClient(tracking_uri=link.tracking_uri)
    status = client.get_run(link.run_id).info.status
    if status != "FINISHED":
        yield f"MLflow says {status}"
    points = read_points(trial.store, trial.file("journal"))
    for key in points[0].metrics if points else ():
        shown = [(p.step, p.value) for p in client.get_metric_history(link.run_id, key)]
        expected = [(p.step, p.metrics[key]) for p in points]
        if shown != expected:
            both = zip(shown, expected, strict=False)
            first = next((pair for pair in both if pair[0] != pair[1]), None)
            counts = f"{len(shown)} points and {len(expected)}; the first that differ: {first}"
            yield f"MLflow's curve of {key} is not the journal's: {counts}"
            return
