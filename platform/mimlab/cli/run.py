"""`mimlab run`, `resume` and `compare`."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mimlab.cli.options import RUNS, Json, Overrides, Preset, Storage, StudyFile
from mimlab.search import ray_settings

if TYPE_CHECKING:
    from mimlab.search.driver import Driver
    from mimlab.search.submission import PlannedStudy

STOPPED = 1
"""Exit code of a run that was stopped or in which a trial failed."""

Retry = Annotated[
    bool, typer.Option("--retry-failed", help="Start failed and diverged trials again.")
]


def run(
    file: StudyFile,
    preset: Preset = None,
    overrides: Overrides = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start another submission beside an unfinished one.")
    ] = False,
    retry_failed: Retry = False,
) -> None:
    """Run a study, or go on with its unfinished submission.

    Finished trials are not repeated. Example: mimlab run sweeps/quickstart.yaml
    """
    ray_settings.apply()
    from mimlab.search import submission as submissions  # torch and Ray take seconds to import
    from mimlab.spec.load import load_study

    console = Console()
    with console.status("checking the study"):
        loaded = load_study(file, preset, overrides or [])
        planned = submissions.plan_study(loaded)
        store = submissions.storage_of(planned.study)
        found = None if new else submissions.unfinished(store, planned.study)
        folder = found or submissions.create(store, planned, loaded)
    if found is not None:
        console.print(f"going on with submission {found.id} (--new starts another)")
    again = shlex.join(["mimlab", "run", *sys.argv[2:]])
    _drive(console, folder.id, planned, retry_failed=retry_failed, again=again)


def resume(
    submission: Annotated[str, typer.Argument(help="A submission's id.")],
    storage: Storage = RUNS,
    retry_failed: Retry = False,
) -> None:
    """Go on with a submission that was interrupted.

    Example: mimlab resume quickstart-20260115-101500
    """
    ray_settings.apply()
    from mimlab.search.submission import reopen  # torch and Ray take seconds to import
    from mimlab.storage.store import Store

    planned = reopen(Store(storage), submission)
    again = shlex.join(["mimlab", "resume", *sys.argv[2:]])
    _drive(Console(), submission, planned, retry_failed=retry_failed, again=again)


def compare(
    submission: Annotated[
        str, typer.Argument(help="A submission's id, or a study's name for its latest one.")
    ],
    storage: Storage = RUNS,
    as_json: Json = False,
) -> None:
    """Print the comparison of a submission, as far as it has come.

    Example: mimlab compare quickstart
    """
    from mimlab.compare.rows import compare as compare_submission
    from mimlab.storage.folders import find_submission
    from mimlab.storage.store import Store

    folder = find_submission(Store(storage), submission)
    comparison = compare_submission(folder)
    if as_json:
        typer.echo(comparison.model_dump_json(indent=1))
        return
    from mimlab.compare.render import table_of

    Console().print(table_of(comparison))


def _drive(
    console: Console, submission_id: str, planned: PlannedStudy, *, retry_failed: bool, again: str
) -> None:
    from mimlab.search.driver import Driver, Options
    from mimlab.search.submission import storage_of
    from mimlab.storage.folders import SubmissionFolder

    folder = SubmissionFolder(storage_of(planned.study), submission_id)
    driver = Driver(folder, planned, Options(retry_failed=retry_failed))
    with driver.opened() as run_trials:
        stopped = _follow(console, driver, run_trials)
    _close(console, driver, stopped=stopped, again=again)


def _follow(console: Console, driver: Driver, run_trials: Callable[[], None]) -> bool:
    """Run the trials in a thread and draw their progress; True if they were asked to stop."""
    from mimlab.cli.progress import ProgressView
    from mimlab.compare.rows import label_of

    thread = threading.Thread(
        target=_run_quietly, args=(driver, run_trials), name="driver", daemon=True
    )
    trials = [(label_of(trial.record()), trial) for trial in driver.submission.trials()]
    view = ProgressView(f"submission {driver.submission.id}", trials, _note(driver))
    interrupts = _Interrupts(console, driver)
    thread.start()
    view.follow(thread.is_alive, console)
    thread.join()
    interrupts.restore()
    return interrupts.count > 0


def _run_quietly(driver: Driver, run_trials: Callable[[], None]) -> None:
    try:
        run_trials()
    except Exception as error:
        driver.error = error


def _note(driver: Driver):
    def note() -> str:
        drain = driver.drain
        return f"MLflow is behind: {drain.last_error}" if drain and drain.last_error else ""

    return note


class _Interrupts:
    """Ctrl-C and SIGTERM: the first asks the trials to save and end, the second ends at once."""

    def __init__(self, console: Console, driver: Driver) -> None:
        self.count = 0
        self._console = console
        self._driver = driver
        self._before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        for number in self._before:
            signal.signal(number, self._handle)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: object) -> None:
        self.count += 1
        if self.count > 1:
            self._console.print("ending at once; the last checkpoints are kept")
            os._exit(STOPPED)
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        self._console.print(f"{name}: saving checkpoints (again to end at once)")
        threading.Thread(target=self._driver.stop, daemon=True).start()


def _close(console: Console, driver: Driver, *, stopped: bool, again: str) -> None:
    """The table, the next commands, and the exit code."""
    from mimlab.compare.render import table_of
    from mimlab.compare.rows import compare as compare_submission
    from mimlab.track.uri import resolve_tracking

    comparison = compare_submission(driver.submission)
    if comparison.metrics or not stopped:
        console.print(table_of(comparison))
    bad = [t for t in driver.submission.trials() if t.status().state in ("failed", "diverged")]
    for trial in bad:
        status = trial.status()
        log = trial.store.local(trial.file("log.jsonl"))
        console.print(f"[red]{trial.id} {status.state}[/]: {status.reason} (see {log})")
    record = driver.submission.record()
    if stopped:
        console.print(f"stopped; go on with:  {again}", soft_wrap=True)
    elif driver.error is not None:
        console.print(f"[red]the driver failed[/]: {driver.error}", soft_wrap=True)
        console.print(f"go on with:  {again}", soft_wrap=True)
    else:
        target = resolve_tracking(record.tracking_uri, driver.submission.store.root)
        console.print("next:", highlight=False)
        console.print(f"  {target.ui_command}", highlight=False, soft_wrap=True)
        console.print(
            f"  mimlab run {record.study_file} --set 'sweep.seeds=[0, 1, 2]'",
            highlight=False,
            soft_wrap=True,
        )
    if stopped or bad or driver.error is not None:
        raise typer.Exit(STOPPED)
