"""`mimlab sync`: MLflow gets what it lacks of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli.options import RUNS, Storage
from mimlab.errors import UserError
from mimlab.exits import FAILED

if TYPE_CHECKING:
    from mimlab.storage.folders import SubmissionFolder


def sync(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUBMISSION|TRIAL",
            help="Ids of submissions or trials, or studies' names; by default all submissions.",
        ),
    ] = None,
    storage: Storage = RUNS,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri",
            metavar="URI",
            help="Another MLflow, e.g. an empty one to build up; by default each study's own.",
        ),
    ] = None,
) -> None:
    """Send MLflow what it lacks: points, probes, boards, models, and statuses that are true.

    For what a driver left that died, or ended while MLflow was away; a living driver does this by
    itself. What MLflow has is not sent twice. A trial's id means its submission.

    Example: mimlab sync quickstart-20260115-101500
    """
    from mimlab.storage.store import Store
    from mimlab.track.catch_up import driven_by, meant
    from mimlab.track.uri import resolve_tracking

    store = Store(storage)
    folders = meant(store, names or [])
    uri = resolve_tracking(tracking_uri, str(store.root)).uri if tracking_uri else None
    drivers = {folder.id: driven_by(folder) for folder in folders}
    for folder in folders:
        if names and drivers[folder.id]:
            raise UserError(
                f"submission {folder.id} is being run by {drivers[folder.id]}, which tells MLflow "
                "itself; wait for it to end"
            )
    away: set[str] = set()
    failed = False
    for folder in folders:
        if drivers[folder.id]:
            typer.echo(f"{folder.id}: {drivers[folder.id]} runs it and tells MLflow itself")
        else:
            failed |= not _caught_up(folder, uri, away)
    if failed:
        raise typer.Exit(FAILED)


def _caught_up(folder: SubmissionFolder, uri: str | None, away: set[str]) -> bool:
    """Send what is missing, and say what; False where MLflow still lacks something.

    `away`: the addresses that did not answer, which are not asked again.
    """
    from mimlab.track.catch_up import MlflowAway, catch_up
    from mimlab.track.sent import Sent

    sent = Sent()
    problems: list[str] = []
    try:
        uri = uri or folder.record().tracking_uri
        if uri in away:
            return False
        problems = catch_up(folder, uri, sent)
    except MlflowAway as error:
        away.add(str(uri))
        problems = [f"{error}; start it, then run the same command again"]
    except UserError as error:
        problems = [str(error)]
    if str(sent):
        typer.echo(f"{folder.id}: {sent}")
    elif not problems:
        typer.echo(f"{folder.id}: nothing was missing")
    for problem in problems:
        typer.echo(f"error: {folder.id}: {problem}", err=True)
    return not problems
