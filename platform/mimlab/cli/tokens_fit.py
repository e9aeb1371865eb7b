"""`mimlab tokens fit`: learn a tokenizer from images, and save it."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli.bars import bar
from mimlab.cli.joining import named_cluster
from mimlab.cli.options import Json
from mimlab.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from mimlab.tokens.fitting import FitResult
    from mimlab.tokens.passes import PassProgress

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
IMAGE_SIZE, PATCH_SIZE = 224, 16
"""Of the encoder that is going to train on the codes, where no grid is given."""

STAGES = {"points": "gathering points", "patches": "looking at codes"}


def fit(  # noqa: PLR0913  (the options of a command)
    name: Annotated[str, typer.Option(help="What you call it, e.g. k-clip.")],
    images: Annotated[
        str, typer.Option(metavar="DATA", help="A data set's folder, its URI, or `digits`.")
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="DIR", help="Its folder, or URI; must not exist yet.")
    ],
    encoder: Annotated[
        str,
        typer.Option(
            metavar="YAML",
            help="A tokenizer and its parameters, {name: kmeans, …}; its name alone; or a file "
            "(.yaml) that says so.",
        ),
    ],
    grid: Annotated[
        int | None,
        typer.Option(min=1, help="Patches in a row, and rows; in the place of the next two."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Of the training, in pixels.  [default: 224]")
    ] = None,
    patch_size: Annotated[
        int | None, typer.Option(min=1, help="Of the training, in pixels.  [default: 16]")
    ] = None,
    split: Annotated[str, typer.Option(help="Which images.")] = "train",
    seed: Annotated[int, typer.Option(help="Of the choice of patches, and of the fit.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N images of the split.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Ray's actors, by default one for each GPU; 0: this process, without Ray."
        ),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Of each actor; by default its share of all.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at once; by default what usually serves.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn a tokenizer from patches of a data set, for `mimlab tokens encode`.

    It looks at centre views, at some patches of every image: as many as the tokenizer asks for. A
    fit that was stopped goes on where it was when the same command is given again. A tokenizer that
    learns nothing is only saved. RAY_ADDRESS names a Ray cluster to join, whose nodes must see all
    folders.

    Example: mimlab tokens fit --name k-clip --images /data/imagenet-1k --to /data/k-clip --encoder
    '{name: kmeans, teacher: {name: resnet50x64_clip, weights: timm, layer: 4}}'
    """
    if not NAME.fullmatch(name):
        raise UserError(f"--name {name}: expected letters, digits, dots, - and _, such as k-clip")
    side = _side(grid, image_size, patch_size)

    # They import Ray and torch, which takes seconds.
    from mimlab.search import ray_settings

    ray_settings.apply()
    from mimlab.data.builtin import resolve_images
    from mimlab.tokens.building import asked_encoder
    from mimlab.tokens.fitting import FitAsked, fit_encoder
    from mimlab.tokens.passes import PassResources

    asked = asked_encoder(encoder, (side, side))
    with (
        tempfile.TemporaryDirectory(prefix="mimlab-fit-") as cache,
        nullcontext() if workers == 0 else named_cluster(Path(cache)),
        bar() as progress,
    ):
        shown = _Shown(progress)
        result = fit_encoder(
            asked,
            resolve_images(images, Path(cache)),
            to,
            name=name,
            asked=FitAsked(split, seed, limit),
            resources=PassResources(workers, cpus, batch_size),
            on_progress=shown.show,
        )
    typer.echo(_json(result) if as_json else _summary(to, result))


def _side(grid: int | None, image_size: int | None, patch_size: int | None) -> int:
    """Patches in a row."""
    if grid is not None:
        if image_size is not None or patch_size is not None:
            raise UserError("--grid says it all; leave --image-size and --patch-size out")
        return grid
    pixels, patch = image_size or IMAGE_SIZE, patch_size or PATCH_SIZE
    if pixels % patch:
        raise UserError(f"--image-size {pixels} is no multiple of --patch-size {patch}")
    return pixels // patch


class _Shown:
    """A bar for each stage, with the images of a second in this try."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage = ""
        self._task: TaskID | None = None
        self._began = 0.0

    def show(self, now: PassProgress) -> None:
        words = STAGES[now.stage]
        if self._task is None or now.stage != self._stage:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._stage, self._began = now.stage, time.perf_counter()
            self._task = self._progress.add_task(words, total=now.total, completed=now.done)
        own = now.done - now.before
        rate = own / max(time.perf_counter() - self._began, 1e-9)
        speed = f", {rate:,.0f} images/s" if own else ""
        learning = ", learning" if now.stage == "points" and now.done == now.total else ""
        self._progress.update(
            self._task, description=f"{words}{speed}{learning}", completed=now.done
        )


def _summary(folder: str, result: FitResult) -> str:
    saved, usage = result.saved, result.usage
    lines = [
        f"{folder}: {saved.name}, {saved.label}, for {saved.grid[0]} × {saved.grid[1]} patches"
    ]
    if saved.fitted is None:
        lines.append("it learns nothing, so it was only saved")
    else:
        again = f", {result.before:,} of them by an earlier try" if result.before else ""
        lines.append(
            f"learned from {saved.fitted.points:,} patches of {result.images:,} images of "
            f"{saved.fitted.split}{again}; seed {saved.fitted.seed}"
        )
    if result.skipped:
        lines.append(f"{result.skipped:,} images could not be read and were left out")
    if usage is not None:
        lines.append(
            f"{usage.patches:,} patches use {usage.used:,} of {usage.vocabulary:,} codes, "
            f"perplexity {usage.perplexity:,.1f}"
        )
    return "\n".join([*lines, f"weights {saved.weights_sha256}"])


def _json(result: FitResult) -> str:
    import json
    from dataclasses import asdict

    return json.dumps(
        {
            "saved": result.saved.model_dump(mode="json"),
            "images": result.images,
            "before": result.before,
            "skipped": result.skipped,
            "usage": None if result.usage is None else asdict(result.usage),
        },
        indent=1,
    )
