"""`mimlab run STUDY --smoke`: a short try of everything, of which nothing stays."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from mimlab.errors import UserError
from mimlab.exits import FAILED

if TYPE_CHECKING:
    from mimlab.search.smoke import Smoke, SmokeTrial
    from mimlab.spec.load import LoadedStudy


def run_smoke(console: Console, loaded: LoadedStudy) -> None:
    """Run two steps of each shape, print how they got on, and leave nothing.

    Raises typer.Exit where something failed, UserError for what the study must change.
    """
    from mimlab.search.shortened import STEPS
    from mimlab.search.smoke import smoke

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with smoke(loaded) as under_way:
        with (
            console.status(f"{STEPS} steps of each shape, its probes and MLflow"),
            under_way.driver.opened() as run_trials,
        ):
            thread = threading.Thread(target=_run_quietly, args=(under_way, run_trials))
            thread.start()
            stopped = _waited(console, under_way, thread)
        trials, problem = under_way.trials(), under_way.problem()
    if stopped:
        console.print("stopped; everything that was written has been removed")
        raise typer.Exit(FAILED)
    console.print(_table(loaded.study.study, trials))
    if problem:
        Console(stderr=True).print(f"error: {problem}", highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED)
    console.print("nothing of it was kept", highlight=False)


def _run_quietly(under_way: Smoke, run_trials: Callable[[], None]) -> None:
    try:
        run_trials()
    except Exception as error:
        under_way.driver.error = error


def _waited(console: Console, under_way: Smoke, thread: threading.Thread) -> bool:
    """Wait for the trials; True if they were interrupted. They must end before their cluster."""
    stopped = False
    while thread.is_alive():
        try:
            thread.join(0.5)
        except KeyboardInterrupt:
            if not stopped:
                console.print("stopping; what was written is going to be removed")
                under_way.driver.stop("stopped", "interrupted")
            stopped = True
    return stopped


def _table(study: str, trials: list[SmokeTrial]) -> Table:
    table = Table(title=f"{study}: two steps of each shape", title_justify="left")
    for name in ("shape", "trials", "state", "first step", "loss", "probes"):
        table.add_column(name)
    for trial in trials:
        point = "\n".join(f"{path}={value}" for path, value in trial.point.items())
        table.add_row(
            point or "the study",
            str(trial.trials),
            trial.state,
            "" if trial.first_step_s is None else f"{trial.first_step_s:.1f} s",
            "" if trial.loss is None else f"{trial.loss:.4g}",
            "\n".join(f"{name} ran" for name in trial.probes),
        )
    return table


def refuse_beside(*, new: bool, retry_failed: bool) -> None:
    """Raises UserError for options that mean a submission."""
    if new or retry_failed:
        option = "--new" if new else "--retry-failed"
        raise UserError(f"{option}: a smoke run is no submission; leave it or --smoke out")
