"""`mimlab replay`: one step of a trial, run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import RUNS, Json, Storage

if TYPE_CHECKING:
    from mimlab.train.replayed import Replayed, Sample

NAMES_SHOWN = 6
SAMPLES_SHOWN = 8


def replay(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The trial's id.")],
    step: Annotated[
        int, typer.Option(help="The step, counted from 0, as a diverged trial's reason names it.")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="Write the batch and the figures, too."),
    ] = None,
    storage: Storage = RUNS,
    as_json: Json = False,
) -> None:
    """Run one step of a trial again: its samples, losses, and where a number stops being finite.

    It trains from the newest checkpoint before the step, or from the beginning where none is kept,
    and writes nothing into the trial.

    Example: mimlab replay b0a87f9f5ab4 --step 1234 --to step-1234
    """
    from mimlab.export.choice import find_trial
    from mimlab.storage.store import Store

    folder = find_trial(Store(storage), trial)
    from mimlab.search.ran import run_as  # torch and Ray take seconds to import
    from mimlab.train.replay import replay as run_again
    from mimlab.train.replay_files import write_replayed

    report, calls = run_again(folder, step, run_as=run_as(folder))
    written = None if to is None else write_replayed(to, report, calls)
    if as_json:
        typer.echo(report.to_bytes().decode().rstrip())
        return
    console = Console()
    for line in _told(report):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(_figures(report))
    console.print(_flows(report))
    if written is not None:
        console.print(f"wrote {written}", highlight=False, soft_wrap=True)


def _told(found: Replayed) -> Iterator[str]:
    """What it was run from, whether it is what it was, and where it goes wrong."""
    start = f"the checkpoint of step {found.start_step}" if found.start_step else "the beginning"
    yield f"trial {found.trial}, step {found.step} of {found.total_steps}, from {start}"
    yield from found.notes
    if found.same_code is False:
        yield "the code has changed since it trained: what follows may differ for that alone"
    yield f"same as recorded: {found.recorded}{_points(found)}"
    if found.skipped:
        yield f"{found.skipped} images could not be read; others stand in their place"
    if found.finite:
        yield "loss and gradient are finite"
    else:
        yield from _damage(found)


def _points(found: Replayed) -> str:
    if not found.points:
        return ""
    text = f"; {found.points} points of the curves on the way"
    if found.differing_points:
        return f"{text}, differing after the steps {_some(found.differing_points)}"
    return f"{text}, all the same"


def _damage(found: Replayed) -> Iterator[str]:
    yield "loss or gradient is not finite"
    bad = [sample.id for sample in found.samples if not sample.finite]
    if bad:
        yield f"samples whose loss is not finite: {_some(bad)} ({len(bad)} of {len(found.samples)})"
    if found.bad_parameters:
        yield f"weights that were not finite before the step: {_some(found.bad_parameters)}"
    if found.bad_inputs:
        yield f"the batch itself is not finite: {_some(found.bad_inputs)}"
    first = found.first_not_finite
    if first is not None:
        given = "finite" if first.fed_finite else "not finite already"
        yield f"first module whose output is not finite: {first.module} (its input was {given})"
    elif not found.bad_parameters:
        yield "every module's output is finite: the loss or the backward pass is where it breaks"
    if found.bad_gradients:
        yield f"weights whose gradient is not finite: {_some(found.bad_gradients)}"


def _figures(found: Replayed) -> Table:
    table = Table("figure", title_justify="left")
    table.add_column("value", justify="right")
    table.add_row("epoch", f"{found.epoch:.4g}")
    table.add_row("learning rate", f"{found.lr:.6g}")
    for name, value in found.figures.items():
        if name not in ("stop", "skipped"):
            table.add_row(name, f"{value:.9g}")
    for sample in _loudest(found.samples):
        table.add_row(f"loss of sample {sample.id}", f"{sample.loss:.9g}")
    return table


def _loudest(samples: list[Sample]) -> list[Sample]:
    """Those that are not finite first, then by their loss."""
    known = [sample for sample in samples if sample.loss is not None]
    known.sort(key=lambda sample: (sample.finite, -(sample.loss or 0.0) if sample.finite else 0.0))
    return known[:SAMPLES_SHOWN]


def _flows(found: Replayed) -> Table:
    table = Table("module", title="largest outputs", title_justify="left")
    table.add_column("largest", justify="right")
    table.add_column("finite")
    for flow in found.largest:
        table.add_row(flow.module, f"{flow.largest:.4g}", "yes" if flow.finite else "no")
    return table


def _some(names: list[str] | list[int]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(map(str, names[:NAMES_SHOWN])) + more
