"""`mimlab resume`: in the foreground, on a cluster, or back into the driver that runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from mimlab.cli.options import RUNS, Address, By, Storage, Trials
from mimlab.cli.run import Retry, drive
from mimlab.search import ray_settings

if TYPE_CHECKING:
    from mimlab.search.driver import Options
    from mimlab.storage.folders import SubmissionFolder


def resume(
    target: Annotated[
        str,
        typer.Argument(
            metavar="SUBMISSION|TRIAL",
            help="A submission's id, a study's name for its latest one, or a trial's id.",
        ),
    ],
    storage: Storage = RUNS,
    address: Address = None,
    retry_failed: Retry = False,
    trials: Trials = None,
    restarted: Annotated[bool, typer.Option("--restarted", hidden=True)] = False,
    by: By = None,
) -> None:
    """Go on with what was stopped, paused or interrupted, from its last checkpoints.

    With --address a driver is started on that cluster, with the code and the study of the
    submission's folder; without it, here and in the foreground. A trial goes back into the driver
    that runs its submission, if one does.

    Example: mimlab resume quickstart-20260115-101500
    """
    from mimlab.actions.named import target_of
    from mimlab.storage.store import Store

    store = Store(storage)
    found = target_of(store, target)
    only = [*(trials or []), *([found.trial.id] if found.trial else [])]
    if address is not None or (found.trial is not None and _is_driven(found.submission)):
        _ask(store, found.submission.id, only, address, retry_failed=retry_failed)
        return
    ray_settings.apply()
    from mimlab.actions.resume import refuse_ended
    from mimlab.search.driver import Options  # torch and Ray take seconds to import
    from mimlab.search.submission import reopen
    from mimlab.storage.asked import withdraw

    if found.trial is not None:
        refuse_ended(found.trial, retry_failed=retry_failed)
        withdraw(found.submission, found.trial.id)
    options = Options(retry_failed=retry_failed, only=frozenset(only), restarted=restarted)
    is_sent = by is not None  # the action that sent it has written that down
    begun = None if restarted or is_sent else partial(_record, found.submission, only, options)
    drive(Console(), found.submission, reopen(found.submission), options, begun)


def _record(submission: SubmissionFolder, only: list[str], options: Options) -> None:
    from mimlab.actions import audit
    from mimlab.user import this_user

    details = {"retry_failed": options.retry_failed}
    for on in only or [submission.id]:
        of = {"submission": submission.id} if only else {}
        audit.record(submission.store, this_user(), "resume", on, of | details)


def _is_driven(submission) -> bool:
    from mimlab.storage.lease import driver_of

    return driver_of(submission) is not None


def _ask(store, submission_id: str, only: list[str], address: str | None, *, retry_failed: bool):
    from mimlab.actions.ray_jobs import RayJobs
    from mimlab.actions.resume import resume_submission, resume_trial
    from mimlab.user import this_user

    launcher = None if address is None else RayJobs(address)
    user = this_user()
    if not only and launcher is not None:
        typer.echo(
            resume_submission(
                store, submission_id, user, launcher=launcher, retry_failed=retry_failed
            )
        )
    for trial_id in only:
        typer.echo(
            resume_trial(
                store, submission_id, trial_id, user, launcher=launcher, retry_failed=retry_failed
            )
        )
