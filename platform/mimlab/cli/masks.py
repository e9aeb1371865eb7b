"""`mimlab masks`: what a masking does to images, beside random masks of the same count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mimlab.cli.options import Overrides
from mimlab.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8
    from torch import Tensor

    from mimlab_objectives.masking.plan import Grid, Masking

PREFIX = "masking."


def masks(  # noqa: PLR0913  (the options of a command)
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
    maps: Annotated[
        str | None,
        typer.Option(
            metavar="SIDECAR",
            help="What `prior` follows: maps of the images, made by `mimlab data maps`.",
        ),
    ] = None,
) -> None:
    """Draw masks over images, how often each position is hidden, and how many patches are.

    Only maskings that need nothing, or the images and maps of them, can be drawn without a trial.

    Example: mimlab masks --masking block --ratio 0.6 --images digits --to masks.png
    """
    if image_size % patch_size:
        raise UserError(f"--image-size {image_size} is no multiple of --patch-size {patch_size}")
    if to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: a picture is written as PNG; expected a name like masks.png")
    grid = (image_size // patch_size, image_size // patch_size)
    given = ([] if ratio is None else [f"{PREFIX}ratio={ratio}"]) + list(overrides or [])
    built = _masking(masking, given, grid)
    _check_maps(built, masking, maps)
    pixels, found = _examples(images, maps, image_size, patch_size)
    _write(built, masking, grid, pixels, found, to, draws)


def _check_maps(built: Masking, name: str, maps: str | None) -> None:
    follows = "prior_map" in built.requires
    if follows and maps is None:
        raise UserError(
            f"--masking {name}: follows a map of each image; name their sidecar, --maps SIDECAR "
            "(`mimlab data maps` makes one)"
        )
    if maps is not None and not follows:
        raise UserError(f"--maps {maps}: {name} follows no map; leave --maps out")


def _examples(
    images: str, maps: str | None, image_size: int, patch_size: int
) -> tuple[UInt8[Tensor, "batch size size 3"], Float[Tensor, "batch tokens"] | None]:
    """Some images, and what a masking follows of them."""
    import tempfile

    from mimlab.train.example_images import example_images, example_maps
    from mimlab.train.mask_figure import COLUMNS, ROWS

    count = COLUMNS * ROWS
    with tempfile.TemporaryDirectory(prefix="mimlab-masks-") as folder:
        cache = Path(folder)
        pixels = example_images(images, image_size, count, cache=cache)
        if maps is None:
            return pixels, None
        return pixels, example_maps(maps, images, image_size, patch_size, count, cache=cache)


def _write(
    built: Masking,
    name: str,
    grid: Grid,
    pixels: UInt8[Tensor, "batch size size 3"],
    maps: Float[Tensor, "batch tokens"] | None,
    to: Path,
    draws: int,
) -> None:
    from mimlab.train.boards import encode_png
    from mimlab.train.mask_draws import draw, draw_random
    from mimlab.train.mask_figure import figure
    from mimlab.train.pixels import normalise

    own = draw(built, name, normalise(pixels), grid, num_draws=draws, maps=maps)
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
    needs = entry.part.requires - OF_THE_LOOP
    if needs:
        raise UserError(
            f"--masking {name}: needs {', '.join(sorted(needs))}, which only a trial can give; the "
            "boards of a trial show its masks (`mimlab board`)"
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
