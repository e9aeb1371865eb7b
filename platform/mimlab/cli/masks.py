"""`mimlab masks`: what a masking does to images, beside random masks of the same count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mimlab.cli.options import Overrides
from mimlab.errors import UserError

if TYPE_CHECKING:
    from mimlab_objectives.masking.plan import Grid, Masking

PREFIX = "masking."


def masks(
    masking: Annotated[str, typer.Option(help="Its name; `mimlab list maskings` shows them.")],
    images: Annotated[
        str, typer.Option(metavar="DATA", help="A data set, `digits`, or a folder of images.")
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The PNG to write.")],
    ratio: Annotated[float | None, typer.Option(help="Short for --set masking.ratio=…")] = None,
    overrides: Overrides = None,
    image_size: Annotated[int, typer.Option(min=4, help="Height and width, in pixels.")] = 224,
    patch_size: Annotated[int, typer.Option(min=1, help="Of a patch, in pixels.")] = 16,
    draws: Annotated[int, typer.Option(min=24, help="Masks that are counted.")] = 2048,
) -> None:
    """Draw masks over images, how often each position is hidden, and how many patches are.

    Only maskings that need nothing, or the pixels of the images, can be drawn without a trial.

    Example: mimlab masks --masking block --ratio 0.6 --images digits --to masks.png
    """
    if image_size % patch_size:
        raise UserError(f"--image-size {image_size} is no multiple of --patch-size {patch_size}")
    if to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: a picture is written as PNG; expected a name like masks.png")
    grid = (image_size // patch_size, image_size // patch_size)
    given = ([] if ratio is None else [f"{PREFIX}ratio={ratio}"]) + list(overrides or [])
    built = _masking(masking, given, grid)
    _write(built, masking, grid, images, image_size, to, draws)


def _write(
    built: Masking, name: str, grid: Grid, images: str, image_size: int, to: Path, draws: int
) -> None:
    import tempfile

    from mimlab.train.boards import encode_png
    from mimlab.train.example_images import example_images
    from mimlab.train.mask_draws import draw, draw_random
    from mimlab.train.mask_figure import COLUMNS, ROWS, figure
    from mimlab.train.pixels import normalise

    with tempfile.TemporaryDirectory(prefix="mimlab-masks-") as cache:
        pixels = example_images(images, image_size, COLUMNS * ROWS, cache=Path(cache))
    own = draw(built, name, normalise(pixels), grid, num_draws=draws)
    hidden = round(float(own.counts.float().mean()))
    random = draw_random(hidden, "random, at the same count", grid, num_draws=draws)
    try:
        to.write_bytes(encode_png(figure(pixels, [own, random])))
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written ({error.strerror})") from error
    tokens = grid[0] * grid[1]
    typer.echo(
        f"{to}: {name} hides {float(own.counts.float().mean()):.1f} of {tokens} patches "
        f"({int(own.counts.min())} to {int(own.counts.max())}), a position in "
        f"{float(own.rate.min()):.2f} to {float(own.rate.max()):.2f} of the masks"
    )


def _masking(name: str, given: list[str], grid: Grid) -> Masking:
    """A masking from `masking.key=value` pairs. Raises UserError."""
    from pydantic import ValidationError

    from mimlab.spec.checks import APPLIED, OF_THE_LOOP
    from mimlab.spec.errors import nearest
    from mimlab.spec.parts import register_parts
    from mimlab_objectives.masking.plan import maskings
    from mimlab_objectives.registry import ParamsError

    register_parts()
    if name not in maskings:
        hint = nearest(name, maskings)
        raise UserError(f"--masking {name}: no masking is called so; {hint}{', '.join(maskings)}")
    entry = maskings[name]
    needs = entry.part.requires - (OF_THE_LOOP & {"pixels"})
    if needs:
        raise UserError(
            f"--masking {name}: needs {', '.join(sorted(needs))}, which only a trial or its data "
            "can give; the boards of a trial show its masks (`mimlab board`)"
        )
    if entry.part.application in ("spectrum", "projection"):
        raise UserError(
            f"--masking {name}: {APPLIED[entry.part.application]} instead of hiding patches, so "
            "there is no mask to draw; the boards of a trial show what is left of the images"
        )
    values = dict(_pair(text) for text in given)
    unknown = [key for key in values if key not in entry.params.model_fields]
    if unknown:
        has = ", ".join(entry.params.model_fields) or "none"
        raise UserError(f"masking.{unknown[0]}: {name} has no such parameter; it has {has}")
    try:
        return entry.part(entry.params.model_validate(values), grid)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"masking.{place}: {first['msg']}") from error
    except ParamsError as error:
        raise UserError(f"masking.{error.field}: {error}") from error


def _pair(text: str) -> tuple[str, Any]:
    from mimlab.spec.positions import parse

    path, equals, value = text.partition("=")
    key = path.strip().removeprefix(PREFIX)
    if not equals or not path.strip().startswith(PREFIX) or not key or "." in key:
        raise UserError(f"--set {text}: expected {PREFIX}<parameter>=<value>")
    return key, parse(value, f"--set {text}")[0]
