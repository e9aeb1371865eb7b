"""`mimlab board`: what a trial predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mimlab.cli.options import RUNS, Storage
from mimlab.errors import UserError


def board(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The trial's id.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The PNG to write.")],
    step: Annotated[
        int | None, typer.Option(help="The checkpoint of this step; by default the newest.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images of the probes' test split.")] = 8,
    storage: Storage = RUNS,
) -> None:
    """Draw fixed images, their masks and a trial's predictions, from a checkpoint.

    Where the target is not pixels, the predictions and the target are pictures of their own, in a
    third and a fourth row.

    Example: mimlab board b0a87f9f5ab4 --to board.png
    """
    if to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: a picture is written as PNG; expected a name like board.png")
    from mimlab.export.choice import find_trial
    from mimlab.storage.store import Store
    from mimlab.train.trial_board import trial_board

    png, at = trial_board(find_trial(Store(storage), trial), step=step, count=images)
    try:
        to.write_bytes(png)
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written ({error.strerror})") from error
    typer.echo(f"{to}: trial {trial} at step {at}")
