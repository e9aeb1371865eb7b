"""`mimlab status` and `logs`: where things stand, from any machine that sees the storage."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli.options import RUNS, Address, Json, Storage

if TYPE_CHECKING:
    from mimlab.actions.launch import Launcher
    from mimlab.actions.status import SubmissionStanding
    from mimlab.storage.store import Store

FOLLOW_S = 1.0


def status(
    target: Annotated[
        str | None,
        typer.Argument(metavar="SUBMISSION|TRIAL", help="By default every submission."),
    ] = None,
    storage: Storage = RUNS,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Say where submissions and their trials stand.

    --address also tells of a job whose driver has not begun, or was refused, and why.

    Example: mimlab status quickstart-20260115-101500
    """
    from mimlab.actions.status import standing, standings
    from mimlab.storage.store import Store

    store = Store(storage)
    launcher = _jobs(address)
    found = standings(store) if target is None else [standing(store, target, launcher)]
    if as_json:
        content = [each.model_dump(mode="json") for each in found]
        typer.echo(json.dumps(content if target is None else content[0], indent=1))
        return
    if not found:
        typer.echo(f"{store.root}: no submission yet; `mimlab run` and `mimlab submit` make one")
    for each in found:
        _print(each, whole=target is not None)


def logs(
    target: Annotated[
        str, typer.Argument(metavar="SUBMISSION|TRIAL", help="A submission's driver, or a trial.")
    ],
    storage: Storage = RUNS,
    address: Address = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines come, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="At most, of the end.")] = 200,
) -> None:
    """Print what a submission's driver or a trial has said.

    A driver's words are kept by what launched it: --address asks that cluster. Where nothing kept
    them, the logs of its trials are merged.

    Example: mimlab logs quickstart-20260115-101500 -f
    """
    from mimlab.actions.own_processes import OwnProcesses
    from mimlab.storage.store import Store

    store, launcher = Store(storage), _jobs(address)
    launchers: list[Launcher] = [each for each in (launcher, OwnProcesses(store)) if each]
    before: list[str] = []
    while True:
        now = _log(store, target, launchers, lines)
        for line in now[_overlap(before, now) :]:
            typer.echo(line)
        before = now
        if not follow:
            return
        time.sleep(FOLLOW_S)


def _log(store: Store, target: str, launchers: list[Launcher], lines: int) -> list[str]:
    from mimlab.actions.logs import log_lines, submission_log, told
    from mimlab.actions.named import target_of
    from mimlab.errors import UserError

    try:
        submission, trial = target_of(store, target)
    except UserError:
        launched = next((each for each in launchers if each.state(target) is not None), None)
        if launched is None:
            raise
        return launched.log_tail(target, lines).splitlines()
    if trial is not None:
        return [told(line) for line in log_lines(trial)][-lines:]
    return list(submission_log(submission, launchers, lines))


def _overlap(before: list[str], now: list[str]) -> int:
    """How many lines at the start of `now` were the end of `before`."""
    for size in range(min(len(before), len(now)), 0, -1):
        if before[-size:] == now[:size]:
            return size
    return 0


def _print(found: SubmissionStanding, *, whole: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    states = [trial.state for trial in found.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    runs = f"run by {found.driver}" if found.driver else "no driver runs it"
    job = f"job {found.job}" if found.job else ""
    console = Console()
    words = [found.id, found.user, counts, found.asked, runs, job]
    line = " · ".join(word for word in words if word)
    console.print(line, highlight=False, soft_wrap=True, markup=False)
    if found.said:
        console.print(found.said, highlight=False, soft_wrap=True, markup=False)
    if not whole or not found.trials:
        return
    table = Table()
    for name in ("id", "trial", "state", "step", "images/s", "probes"):
        table.add_column(name, overflow="fold")
    for trial in found.trials:
        reason = f": {trial.reason}" if trial.reason else ""
        forked = f" (from {trial.parent} @ {trial.parent_step})" if trial.parent else ""
        table.add_row(
            trial.id,
            f"{trial.label}{forked}",
            f"{trial.state}{reason}",
            f"{trial.step}/{trial.total_steps}" if trial.total_steps else "",
            f"{trial.images_per_s:,.0f}" if trial.state == "running" else "",
            " ".join(f"{key.removeprefix('probe/')} {v:.3f}" for key, v in trial.scores.items()),
        )
    console.print(table)


def _jobs(address: str | None) -> Launcher | None:
    from mimlab.actions.ray_jobs import RayJobs

    return None if address is None else RayJobs(address)
