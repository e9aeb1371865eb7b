"""`mimlab probe`: a probe more for trials that have finished."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli.options import RUNS
from mimlab.exits import FAILED

if TYPE_CHECKING:
    from mimlab.probe.added import AddedWork
    from mimlab.probe.task import ProbeOrder
    from mimlab.storage.folders import SubmissionFolder
    from mimlab.storage.records import ProbeRecord


def probe(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A study's YAML file or name, for its latest submission; a submission's or a "
            "trial's id.",
        ),
    ],
    kind: Annotated[
        str, typer.Option("--probe", metavar="KIND", help="Which probe, e.g. attentive.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="probe.KEY=VALUE", help="Change one key; repeatable."),
    ] = None,
    all_steps: Annotated[
        bool, typer.Option("--all-steps", help="Probe every export, not only the last.")
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="The folder of results, or its s3:// URI; by default the study file's, or runs.",
        ),
    ] = None,
) -> None:
    """Add a probe to finished trials and to the baselines under them: to results, and to MLflow.

    It runs in this process, one encoder after the other on all cores and a GPU if there is one.
    What has a result already is not repeated, so the same command goes on where it was interrupted.

    Example: mimlab probe sweeps/quickstart.yaml --probe attentive --set probe.epochs=10
    """
    from mimlab.probe.added import baselines_of, choose, work_of  # torch takes seconds to import
    from mimlab.spec.asked_probe import asked_probe
    from mimlab.spec.load import load_study
    from mimlab.storage.holding import held
    from mimlab.storage.store import Store

    asked = asked_probe(kind, overrides or [])
    name, root = target, storage or RUNS
    if Path(target).suffix in (".yaml", ".yml"):
        study = load_study(target).study
        name, root = study.study, storage or str(study.storage)
    chosen = choose(Store(root), name)
    threads = len(os.sched_getaffinity(0))
    work = work_of(chosen, asked, all_steps=all_steps, threads=threads, use_gpu=True)
    baselines = baselines_of(chosen, asked, threads=threads, use_gpu=True)
    for trial in chosen.unfinished:
        typer.echo(f"{trial.id} has not finished and is left out")
    with contextlib.ExitStack() as stack:
        for owner in chosen.owners():
            stack.enter_context(held(owner))
        failed = [line for one in work for line in _run(one, asked.label)]
        if baselines is not None:
            failed += _run_baselines(baselines, chosen.submission)
        _show(chosen.submission)
    if failed:
        raise typer.Exit(FAILED)
    typer.echo(f"next:\n  mimlab compare {chosen.submission.id}")


def _run(work: AddedWork, label: str) -> list[str]:
    """Probe the exports of a trial, saying what came of each; what failed, a line each."""
    from mimlab.probe.task import probe_file, probe_step

    trial, failed = work.trial, []
    if not work.steps:
        typer.echo(f"{trial.id} has its results of {label} already")
    for step in work.steps:
        said = f"{trial.id} {label} at step {step}"
        try:
            for record in probe_step(work.order, trial, step, [label]):
                trial.store.write_record(trial.file(probe_file(label, step)), record)
                _say(said, record, "probe")
        except (ValueError, RuntimeError) as error:
            failed.append(_failed(said, error))
    return failed


def _run_baselines(order: ProbeOrder, submission: SubmissionFolder) -> list[str]:
    """Probe an untrained encoder and raw pixels; what failed, a line."""
    from mimlab.probe.task import baseline_file, baseline_records

    try:
        for record in baseline_records(order, submission):
            name = record.encoder_hash
            path = submission.file(baseline_file(name, record.probe))
            submission.store.write_record(path, record)
            _say(f"baseline {name} {record.probe}", record, f"baseline/{name}")
    except (ValueError, RuntimeError) as error:
        return [_failed("the baselines could not be measured", error)]
    return []


def _say(what: str, record: ProbeRecord, prefix: str) -> None:
    from mimlab.probe.labels import metric_key

    score = record.metrics[metric_key(record.probe, prefix)]
    typer.echo(f"{what}: {score:.4f} ({record.seconds:.0f} s)")


def _failed(what: str, error: Exception) -> str:
    typer.echo(line := f"{what}: {str(error).splitlines()[-1]}", err=True)
    return line


def _show(submission: SubmissionFolder) -> None:
    """Bring MLflow in step; what it cannot be told now, `mimlab sync` tells later."""
    from mimlab.track.view import MlflowView

    view = MlflowView(submission.store, submission.record().tracking_uri)
    view.open_submission(submission.record(), submission.trial_records())
    if not view.close():
        typer.echo(
            f"MLflow is behind: {view.last_error}; `mimlab sync {submission.id}` tells it later",
            err=True,
        )
