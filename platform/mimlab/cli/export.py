"""`mimlab export`: a trained encoder for timm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mimlab.cli.options import RUNS, Storage
from mimlab.errors import UserError


def export(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The trial's id.")],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new or an empty folder.")],
    step: Annotated[
        int | None, typer.Option(help="The export of this step; by default the last.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The export with the highest score of the first probe.")
    ] = False,
    storage: Storage = RUNS,
) -> None:
    """Write a trial's encoder as safetensors that timm loads, with a model card.

    It is loaded with timm and compared, bit for bit, before the folder appears.

    Example: mimlab export b0a87f9f5ab4 --to encoder --best
    """
    if best and step is not None:
        raise UserError("--step and --best: give one of them; each names an export")
    from mimlab.export.choice import best_encoder, encoder_at, find_trial, last_encoder
    from mimlab.export.folder import write_folder
    from mimlab.storage.store import Store

    folder = find_trial(Store(storage), trial)
    if best:
        card = best_encoder(folder)
    else:
        card = last_encoder(folder) if step is None else encoder_at(folder, step)
    written = write_folder(folder, card, to)
    typer.echo(
        f"{written}: the encoder of step {card.step} (epoch {card.epoch:.4g}), checked with timm; "
        "README.md says how to load it"
    )
