"""`mimlab stop`, `pause`, `fork` and `extend`: what is done to submissions and trials."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli.options import RUNS, Address, Storage
from mimlab.errors import UserError

if TYPE_CHECKING:
    from mimlab.actions.ray_jobs import RayJobs

Target = Annotated[
    str,
    typer.Argument(
        metavar="SUBMISSION|TRIAL",
        help="A submission's id, a study's name for its latest one, or a trial's id.",
    ),
]


def stop(target: Target, storage: Storage = RUNS, address: Address = None) -> None:
    """Have a submission, or one trial, save and end as `stopped`; `resume` goes on with it.

    The driver sees the request in the storage, wherever it runs. --address reaches a job whose
    driver has yet to begin.

    Example: mimlab stop quickstart-20260115-101500
    """
    from mimlab.actions.stop import stop_submission, stop_trial

    _end(target, storage, address, whole=stop_submission, one=stop_trial)


def pause(target: Target, storage: Storage = RUNS, address: Address = None) -> None:
    """Have a submission, or one trial, save and give its resources to others.

    A paused trial waits until it is resumed itself.

    Example: mimlab pause 3f2a9c417b0e
    """
    from mimlab.actions.pause import pause_submission, pause_trial

    _end(target, storage, address, whole=pause_submission, one=pause_trial)


def fork(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The trial to start from.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change one key; repeatable."),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(min=0, help="Of the checkpoint to start from; by default the newest."),
    ] = None,
    storage: Storage = RUNS,
    address: Address = None,
) -> None:
    """Start a new trial from a checkpoint of another one, with changed settings.

    Prints what differs, and what is taken of the checkpoint: all of its state, or the encoder alone
    where another objective is trained. Without --address it is run by a process of this machine
    that goes on by itself.

    Example: mimlab fork 3f2a9c417b0e --set masking.ratio=0.9
    """
    from mimlab.actions.fork import fork as forked
    from mimlab.storage.store import Store
    from mimlab.user import this_user

    store = Store(storage)
    found = forked(
        store, trial, changes or [], step=step, launcher=_launcher(storage, address), by=this_user()
    )
    _tell_forks(found, storage, address)


def extend(
    target: Target,
    budget: Annotated[
        str, typer.Option(metavar="KIND=AMOUNT", help="The new budget, e.g. epochs=200.")
    ],
    storage: Storage = RUNS,
    address: Address = None,
) -> None:
    """Give a trial, or every trial of a submission, a larger budget than it had.

    The learning rate follows a cosine to the budget's end, so each goes on as a fork from its last
    checkpoint.

    Example: mimlab extend 3f2a9c417b0e --budget epochs=200
    """
    from mimlab.actions.extend import extend as extended
    from mimlab.storage.store import Store
    from mimlab.user import this_user

    found = extended(
        Store(storage),
        target,
        _amount(budget),
        launcher=_launcher(storage, address),
        by=this_user(),
    )
    _tell_forks(found, storage, address)


def _end(target: str, storage: str, address: str | None, *, whole, one) -> None:
    from mimlab.actions.named import target_of
    from mimlab.storage.store import Store
    from mimlab.user import this_user

    store, launcher = Store(storage), _jobs(address)
    try:
        found = target_of(store, target)
    except UserError:
        if launcher is None or launcher.state(target) is None:
            raise
        typer.echo(whole(store, target, this_user(), launcher))  # its driver has yet to begin
        return
    if found.trial is not None:
        typer.echo(one(store, found.submission.id, found.trial.id, this_user()))
    else:
        typer.echo(whole(store, found.submission.id, this_user(), launcher))


def _jobs(address: str | None) -> RayJobs | None:
    from mimlab.actions.ray_jobs import RayJobs

    return None if address is None else RayJobs(address)


def _launcher(storage: str, address: str | None):
    from mimlab.actions.own_processes import OwnProcesses
    from mimlab.storage.store import Store

    return _jobs(address) or OwnProcesses(Store(storage))


def _amount(budget: str) -> dict[str, float]:
    kind, equals, amount = budget.partition("=")
    try:
        return {kind.strip(): float(amount)}
    except ValueError:
        pass
    said = "no `=`" if not equals else f"{amount!r} is no number"
    raise UserError(f"--budget {budget}: {said}; e.g. epochs=200")


def _tell_forks(submission_id: str, storage: str, address: str | None) -> None:
    from mimlab.storage.folders import SubmissionFolder
    from mimlab.storage.store import Store

    typer.echo(f"submitted {submission_id}")
    for record in SubmissionFolder(Store(storage), submission_id).trial_records():
        start = record.start
        if start is None:
            continue
        taken = (
            "all of its state" if start.takes == "state" else "the encoder's weights alone, at step"
        )
        where = "" if start.takes == "state" else " 0"
        typer.echo(
            f"  {record.id} from {record.parent} at step {record.parent_step}: takes {taken}{where}"
        )
        for difference in start.drift:
            typer.echo(f"    {difference}")
    words = ["mimlab", "status", submission_id, "--storage", storage]
    typer.echo(f"  {shlex.join([*words, *(['--address', address] if address else [])])}")
