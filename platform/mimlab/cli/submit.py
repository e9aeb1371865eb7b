"""`mimlab submit`: a study, sent to a Ray cluster."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from mimlab.cli.options import RUNS, Address, Overrides, Preset, StudyFile
from mimlab.errors import UserError


def submit(
    file: StudyFile,
    address: Address = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Where results go, instead of what the study says; or s3://."
        ),
    ] = None,
    preset: Preset = None,
    overrides: Overrides = None,
    python: Annotated[
        str | None, typer.Option(help="The cluster's interpreter, where it is not its `python`.")
    ] = None,
) -> None:
    """Send a study to a Ray cluster, and come back at once with the id of its submission.

    What can be checked here is checked before anything is sent. The driver runs on the cluster, and
    is started again there when it dies. The storage must be one that the cluster sees.

    Example: mimlab submit sweeps/quickstart.yaml --address http://head:8265 --storage s3://team/runs
    """
    from mimlab.actions.ray_jobs import RayJobs
    from mimlab.actions.submit import refuse_local, submit  # torch and timm take seconds
    from mimlab.spec.load import load_study
    from mimlab.storage.store import Store
    from mimlab.user import this_user

    if address is None:
        raise UserError(
            "--address: name the dashboard of a Ray head, http://HOST:8265, or set MIMLAB_ADDRESS; "
            "`mimlab run` runs a study on this machine"
        )
    launcher = RayJobs(address, python)
    loaded = load_study(file, preset, overrides or [])
    refuse_local(storage or loaded.own.get("storage"), launcher)
    store = Store(storage or loaded.study.storage or RUNS)
    found = submit(
        loaded.text,
        store=store,
        launcher=launcher,
        user=this_user(),
        preset=preset,
        overrides=overrides or [],
        origin=file,
    )
    typer.echo(f"submitted {found}")
    options = ["--storage", str(store.root), "--address", address]
    for command in ("status", "logs", "stop"):
        typer.echo(f"  {shlex.join(['mimlab', command, found, *options])}")
