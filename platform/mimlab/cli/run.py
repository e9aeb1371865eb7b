"""`mimlab run` and `compare`."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mimlab.cli.options import (
    RUNS,
    As,
    Audit,
    By,
    Json,
    Origin,
    Overrides,
    Preset,
    Storage,
    StudyFile,
)
from mimlab.cli.smoke import refuse_beside, run_smoke
from mimlab.errors import NoRoom, UserError
from mimlab.exits import FAILED, INTERRUPTED, UNAVAILABLE
from mimlab.search import ray_settings

if TYPE_CHECKING:
    from mimlab.search.driver import Driver, Options
    from mimlab.search.submission import PlannedStudy
    from mimlab.spec.load import LoadedStudy
    from mimlab.storage.folders import SubmissionFolder
    from mimlab.track.drain import Drain

Submission = Annotated[
    str, typer.Argument(help="A submission's id, or a study's name for its latest one.")
]
Retry = Annotated[
    bool, typer.Option("--retry-failed", help="Start failed and diverged trials again.")
]


def run(  # noqa: PLR0913  (the options of a command)
    file: StudyFile,
    preset: Preset = None,
    overrides: Overrides = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start another submission beside an unfinished one.")
    ] = False,
    retry_failed: Retry = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Only two steps of each distinct shape, end to end; keep nothing."
        ),
    ] = False,
    as_id: As = None,
    origin: Origin = None,
    by: By = None,
    audit: Audit = False,
) -> None:
    """Run a study, or go on with its unfinished submission.

    Finished trials are not repeated. Example: mimlab run sweeps/quickstart.yaml
    """
    ray_settings.apply()
    from mimlab.search import submission as submissions  # torch and Ray take seconds to import
    from mimlab.search.driver import Options
    from mimlab.search.hours import with_hours_frozen
    from mimlab.spec.load import load_study

    console = Console()
    if smoke:
        refuse_beside(new=new, retry_failed=retry_failed)
        run_smoke(console, load_study(file, preset, overrides or []))
        return
    with console.status("checking the study"):
        loaded = load_study(file, preset, overrides or [], origin=origin)
        planned = with_hours_frozen(loaded, submissions.plan_study(loaded), again=new)
        store = submissions.storage_of(planned.study)
        found = None
        if as_id is not None:
            found = submissions.existing(store, as_id)
        elif not new:
            found = submissions.unfinished(store, planned)
        named = submissions.Named(id=as_id, user=by)
        folder = found or submissions.create(store, planned, loaded, named)
    if found is not None:
        console.print(f"going on with submission {found.id} (--new starts another)")
    options = Options(retry_failed=retry_failed, study_options=loaded.options)
    is_sent = as_id is not None and not audit  # whoever sent it has written that down
    begun = None if is_sent else partial(_record, folder, loaded, again=found is not None)
    drive(console, folder, planned, options, begun)


def _record(folder: SubmissionFolder, loaded: LoadedStudy, *, again: bool) -> None:
    from mimlab.actions import audit
    from mimlab.actions.submit import audit_submit
    from mimlab.user import this_user

    if again:
        audit.record(folder.store, this_user(), "resume", folder.id, {"options": loaded.options})
    else:
        audit_submit(folder.store, folder.record().user, folder.id, loaded)


def compare(
    submission: Submission,
    storage: Storage = RUNS,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a report with figures: one file, which needs no network."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write a line for each trial, with every digit.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(help="Write the results as a booktabs table.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the comparison of a submission, as far as it has come.

    Example: mimlab compare quickstart --html report.html
    """
    from mimlab.compare.export import Files, write_files
    from mimlab.compare.rows import compare_trials
    from mimlab.compare.trials import read_trials
    from mimlab.storage.folders import find_submission
    from mimlab.storage.store import Store

    files = Files(html=html, csv=csv, latex=latex)
    files.check()
    folder = find_submission(Store(storage), submission)
    trials = read_trials(folder)
    comparison = compare_trials(folder, trials)
    written = write_files(folder, trials, files)
    if as_json:
        typer.echo(comparison.model_dump_json(indent=1))
        return
    from mimlab.compare.render import table_of

    console = Console()
    console.print(table_of(comparison))
    for file in written:
        console.print(f"wrote {file}", highlight=False, soft_wrap=True)


def drive(
    console: Console,
    folder: SubmissionFolder,
    planned: PlannedStudy,
    options: Options,
    begun: Callable[[], None] | None = None,
) -> None:
    """Run what a submission still has to do, draw it, and say what came of it.

    `begun` is called once this is the submission's driver.
    """
    from mimlab.search.driver import Driver

    driver = Driver(folder, planned, options)
    with driver.opened(begun) as run_trials:
        stopped = _follow(console, driver, run_trials)
    _close(console, driver, stopped)


def _follow(console: Console, driver: Driver, run_trials: Callable[[], None]) -> int | None:
    """Run the trials in a thread and draw their progress; an exit code if they had to stop."""
    from mimlab.cli.interrupts import Interrupts
    from mimlab.cli.progress import ProgressView
    from mimlab.compare.rows import label_of
    from mimlab.storage.folders import TrialFolder

    thread = threading.Thread(
        target=_run_quietly, args=(driver, run_trials), name="driver", daemon=True
    )
    store = driver.submission.store.at_once()

    def trials() -> list[tuple[str, TrialFolder]]:
        return [(label_of(record), TrialFolder(store, record.id)) for record in driver.trials()]

    title, expected = f"submission {driver.submission.id}", driver.planned.num_trials
    view = ProgressView(title, trials, _note(driver), expected=expected)
    interrupts = Interrupts(console, driver.stop)
    thread.start()
    try:
        view.follow(thread.is_alive, console)
    except UserError as error:
        console.print(f"progress cannot be shown: {error}; the trials go on", soft_wrap=True)
    finally:
        # The trials must not outlive the cluster, which ends with this.
        thread.join()
        interrupts.restore()
    if interrupts.asked is not None:
        return interrupts.exit_code
    return FAILED if driver.limit_reached or driver.requests.ended_by else None


def _run_quietly(driver: Driver, run_trials: Callable[[], None]) -> None:
    try:
        run_trials()
    except Exception as error:
        driver.error = error


def _note(driver: Driver):
    def note() -> str:
        if driver.requests.ended_by:
            return f"{driver.requests.ended_by}: saving checkpoints"
        if driver.limit_reached:
            return f"{driver.limit_reached}: saving checkpoints"
        drain = driver.tracking.drain
        behind = f"MLflow is behind: {drain.last_error}" if drain and drain.last_error else ""
        room = driver.room.note if driver.room else ""
        return "; ".join(filter(None, (room, behind, driver.disk.note)))

    return note


def _close(console: Console, driver: Driver, stopped: int | None) -> None:
    """The table, the next commands, and the exit code; `stopped`: that of a run that had to."""
    from mimlab.compare.render import table_of
    from mimlab.compare.rows import compare as compare_submission
    from mimlab.storage.asked import paused
    from mimlab.track.uri import resolve_tracking

    comparison = compare_submission(driver.submission)
    if comparison.metrics or stopped is None:
        console.print(table_of(comparison))
    problems = _problems(driver)
    for problem in problems:
        console.print(problem, style="red", highlight=False, soft_wrap=True)
    drain = driver.tracking.drain
    if drain is not None and drain.behind:
        console.print(_behind(driver, drain), highlight=False, soft_wrap=True)
    record = driver.submission.record()
    if driver.requests.ended_by:
        console.print(driver.requests.ended_by, highlight=False, soft_wrap=True)
    for trial_id, pause in paused(driver.submission).items():
        words = ["mimlab", "resume", trial_id, *_storage_option(driver)]
        line = f"{trial_id} {pause.reason}; put it back with:  {shlex.join(words)}"
        console.print(line, highlight=False, soft_wrap=True)
    if driver.limit_reached:
        console.print(f"stopped: {driver.limit_reached}", highlight=False, soft_wrap=True)
        console.print(driver.hours.remedy(), highlight=False, soft_wrap=True)
    elif stopped is not None or driver.error is not None or driver.left:
        again = ["mimlab", "resume", driver.submission.id, *_storage_option(driver)]
        word = "go" if stopped is None else "stopped; go"
        console.print(f"{word} on with:  {shlex.join(again)}", highlight=False, soft_wrap=True)
    else:
        target = resolve_tracking(record.tracking_uri, str(driver.submission.store.root))
        seeds = ["--set", "sweep.seeds=[0, 1, 2]"]
        again = ["mimlab", "run", record.study_file, *record.options, *seeds]
        console.print("next:", highlight=False)
        for line in (target.ui_command, shlex.join(again)):
            console.print(f"  {line}", highlight=False, soft_wrap=True)
    if stopped is not None:
        raise typer.Exit(stopped)
    if driver.error is not None and not isinstance(driver.error, UserError):
        raise typer.Exit(UNAVAILABLE if isinstance(driver.error, NoRoom) else INTERRUPTED)
    if driver.left:
        raise typer.Exit(INTERRUPTED)
    if problems:
        raise typer.Exit(FAILED)


def _problems(driver: Driver) -> list[str]:
    """What went wrong, a line each."""
    lines = [] if driver.error is None else [f"the driver failed: {driver.error}"]
    if driver.baseline_error:
        lines.append(f"the baselines could not be measured: {driver.baseline_error}")
    for trial in driver.submission.trials():
        status = trial.status()
        log = trial.store.place(trial.file("log.jsonl"))
        if trial.id in driver.left:
            lines.append(f"{trial.id} {status.state}: {status.reason}")
        if status.state in ("failed", "diverged"):
            lines.append(f"{trial.id} {status.state}: {status.reason} (see {log})")
        for record in trial.probes():
            if record.error:
                lines.append(f"{trial.id} {record.probe} at step {record.step}: {record.error}")
    return lines


def _behind(driver: Driver, drain: Drain) -> str:
    """What MLflow lacks at the end, why, and what sends it."""
    again = shlex.join(["mimlab", "sync", driver.submission.id, *_storage_option(driver)])
    why = drain.last_error or "it was not done in time"
    return f"MLflow lacks {drain.lacking} ({why}); nothing is lost, send it with:  {again}"


def _storage_option(driver: Driver) -> list[str]:
    root = driver.submission.store.root
    return [] if root == Path(RUNS).absolute() else ["--storage", str(root)]
