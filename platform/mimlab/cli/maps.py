"""`mimlab data maps`: import a map for each image of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mimlab.cli.bars import bar
from mimlab.cli.options import Json

if TYPE_CHECKING:
    from mimlab.data.sidecar import MapKind, Sidecar

UNUSED_SHOWN = 3

KINDS: dict[str, MapKind] = {"map": "map", "labels": "labels_map"}


def maps(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="A grey .png or a .npy for each image, called as the image's file at the source.",
        ),
    ],
    dataset: Annotated[
        str, typer.Option("--for", metavar="DATASET", help="The data set's folder, or its URI.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="SIDECAR", help="The sidecar's folder, or its URI; must not exist yet."
        ),
    ],
    kind: Annotated[
        Literal["map", "labels"],
        typer.Option(help="map: values from 0 to 1. labels: a class for each pixel, 255 for none."),
    ],
    made_by: Annotated[str, typer.Option(help="What made the maps, in words.")] = "",
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go without maps for more than 1 % of images.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Lay a map for each image beside the shards of a data set, as a sidecar.

    A map belongs to the image whose file had its name, extensions aside: masks/train/cat/7.png to
    images/train/cat/7.jpg.

    Example: mimlab data maps masks/ --for /data/voc --to /data/voc-labels --kind labels
    """
    from mimlab.data.importing_maps import import_maps  # pyarrow and OpenCV take time to import

    with bar() as progress:
        task = progress.add_task("matching", total=None)
        imported = import_maps(
            folder,
            dataset,
            to,
            kind=KINDS[kind],
            made_by=made_by,
            allow_missing=allow_missing,
            on_progress=lambda done, total: progress.update(
                task, description="writing", completed=done, total=total
            ),
        )
    if as_json:
        typer.echo(imported.sidecar.manifest.model_dump_json(indent=1))
        return
    typer.echo(_summary(imported.sidecar))
    if imported.unused:
        shown = ", ".join(imported.unused[:UNUSED_SHOWN])
        more = ", …" if len(imported.unused) > UNUSED_SHOWN else ""
        typer.echo(f"{len(imported.unused)} maps are of no image: {shown}{more}")


def _summary(sidecar: Sidecar) -> str:
    found = sidecar.manifest
    rows = sum(split.rows for split in found.splits)
    classes = "" if found.num_classes is None else f", {found.num_classes} classes"
    return (
        f"{sidecar.root}: {rows - found.missing:,} maps of {rows:,} images{classes}; "
        f"fingerprint {found.fingerprint}"
    )
