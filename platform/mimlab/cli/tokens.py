"""`mimlab tokens`: fit a tokenizer, encode images once, and look at what was stored."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli import tokens_fit
from mimlab.cli.joining import named_cluster
from mimlab.cli.options import Json
from mimlab.cli.tokens_shown import encoding_progress, show_inspection
from mimlab.errors import UserError

if TYPE_CHECKING:
    from mimlab.data.augment import AugmentConfig
    from mimlab.data.manifest import DataSet
    from mimlab.tokens.plan import ViewsAsked

app = typer.Typer(
    help="Encode images once: codes and features that studies then read.", no_args_is_help=True
)

app.command("fit")(tokens_fit.fit)

Store = Annotated[str, typer.Argument(metavar="STORE", help="The token store's folder, or URI.")]
Images = Annotated[
    str,
    typer.Option("--images", metavar="DATA", help="The data set's folder, its URI, or `digits`."),
]
Seed = Annotated[int, typer.Option(help="Of the choice of images.")]


@app.command("encode")
def encode(  # noqa: PLR0913  (the options of a command)
    encoder: Annotated[
        str, typer.Argument(metavar="ENCODER", help="A folder made by `mimlab tokens fit`.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="STORE", help="The store's folder, or URI.")],
    images: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="The data set's folder, its URI, or `digits`."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side in pixels of the views that train on it.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="YAML",
            help="Crop and flip, as in a study: '{crop_scale: [0.2, 1.0], flip: 0.5}'. One fixed "
            "centre crop: '{crop_scale: [1, 1], crop_ratio: [1, 1], flip: 0}'.",
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="Takes images, size, augment and split from a study."),
    ] = None,
    views: Annotated[
        int, typer.Option(min=1, help="Views of an image; an epoch uses number epoch mod VIEWS.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of crops and flips.")] = 0,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Which images; repeatable.  [default: the one trained on]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Actors; by default one for each GPU.")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Of each actor; by default its share of all.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at once; by default what serves a GPU best.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Encode recorded views of a data set's images into a token store.

    An encoding that was stopped or killed goes on where it was when the same command is given
    again. RAY_ADDRESS names a Ray cluster to join, whose nodes must see all folders.

    Example: mimlab tokens encode /data/k-clip --study sweeps/mapet.yaml --to /data/k-clip-tokens

    Example: mimlab tokens encode /data/k-clip --images /data/imagenet-1k --image-size 224
    --views 8 --to /data/k-clip-tokens
    """
    place, asked, trained = _asked(images, image_size, augment, study)
    # They import Ray and torch, which takes seconds.
    from mimlab.search import ray_settings

    ray_settings.apply()
    from mimlab.data.builtin import resolve_images
    from mimlab.tokens.encoding import EncodingResources, encode_images
    from mimlab.tokens.inspection import inspect_tokens
    from mimlab.tokens.saved import load_encoder

    with tempfile.TemporaryDirectory(prefix="mimlab-tokens-") as cache:
        with named_cluster(Path(cache)), encoding_progress() as progress:
            store = encode_images(
                encoder,
                resolve_images(place, Path(cache)),
                to,
                load=load_encoder,
                asked=asked.model_copy(update={"count": views, "seed": seed}),
                splits=split or [trained],
                resources=EncodingResources(workers, cpus, batch_size),
                on_progress=progress,
            )
        found = inspect_tokens(store.root)
    typer.echo(found.model_dump_json(indent=1)) if as_json else show_inspection(found)


@app.command("inspect")
def inspect(
    store: Store,
    images: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Also holds it against this data set, or `digits`."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare hashes, fingerprint and vocabulary.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what a token store holds: its views, its encoder, how its codes are used.

    Example: mimlab tokens inspect /data/k-clip-tokens --images /data/imagenet-1k --verify
    """
    from mimlab.tokens.inspection import inspect_tokens

    with tempfile.TemporaryDirectory(prefix="mimlab-tokens-") as cache:
        data = None if images is None else _data_set(images, Path(cache))
        found = inspect_tokens(store, data, verify=verify)
    typer.echo(found.model_dump_json(indent=1)) if as_json else show_inspection(found)


@app.command("verify")
def verify(
    store: Store,
    images: Images,
    sample: Annotated[
        int, typer.Option(min=1, help="Images that are encoded again, each in one of its views.")
    ] = 256,
    seed: Seed = 0,
) -> None:
    """Encode a random sample again, and compare it with what is stored.

    Ends with code 1 where more than 0.1 % of the patches differ: fewer may, since another device
    may break a near tie the other way.

    Example: mimlab tokens verify /data/k-clip-tokens --images /data/imagenet-1k --sample 1000
    """
    from mimlab.tokens.saved import load_encoder
    from mimlab.tokens.store import TokenStore
    from mimlab.tokens.verifying import verify_tokens

    with tempfile.TemporaryDirectory(prefix="mimlab-tokens-") as cache:
        data = _data_set(images, Path(cache))
        opened = TokenStore.open(store, data)
        found = verify_tokens(opened, load_encoder(store), data, count=sample, seed=seed)
    words = f"{found.different:,} of {found.patches:,} patches differ ({found.share:.3%})"
    verdict = "as encoded" if found.passed else "NOT what its encoder gives"
    typer.echo(f"{store}: {found.images:,} images encoded again: {words}; {verdict}")
    if not found.passed:
        raise typer.Exit(1)


@app.command("show")
def show(
    store: Store,
    images: Images,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="The PNG to write.")],
    codes: Annotated[int, typer.Option(min=1, help="Rows of the picture.")] = 16,
    patches: Annotated[int, typer.Option(min=1, help="Of each code, of different images.")] = 12,
    seed: Seed = 0,
) -> None:
    """Draw real patches for a sample of codes: a row has those that share one, its mean first.

    Example: mimlab tokens show /data/k-clip-tokens --images /data/imagenet-1k --to codes.png
    """
    if to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: a picture is written as PNG; expected a name like codes.png")
    from mimlab.tokens.showing import code_picture
    from mimlab.tokens.store import TokenStore

    with tempfile.TemporaryDirectory(prefix="mimlab-tokens-") as cache:
        data = _data_set(images, Path(cache))
        opened = TokenStore.open(store, data)
        png = code_picture(opened, data, codes=codes, patches=patches, seed=seed)
    try:
        to.write_bytes(png)
    except OSError as error:
        raise UserError(f"--to {to}: cannot be written ({error.strerror})") from error
    typer.echo(f"{to}: codes of {opened.encoder.label}, mean patch first")


def _data_set(images: str, cache: Path) -> DataSet:
    from mimlab.data.builtin import resolve_images
    from mimlab.data.manifest import DataSet

    return DataSet.open(resolve_images(images, cache))


def _asked(
    images: str | None, image_size: int | None, augment: str | None, study: Path | None
) -> tuple[str, ViewsAsked, str]:
    """The data set, the views but for their number and seed, and the split that is trained on."""
    from mimlab.tokens.plan import ViewsAsked

    if study is not None:
        given = {"--images": images, "--image-size": image_size, "--augment": augment}
        if both := [name for name, value in given.items() if value is not None]:
            raise UserError(f"{both[0]}: --study says it already; leave one of them out")
        from mimlab.spec.load import load_study

        found = load_study(study).study.data
        asked = ViewsAsked(image_size=found.image_size, augment=found.augment)
        return found.images, asked, found.splits.train
    if images is None or image_size is None:
        raise UserError("expected --study STUDY, or --images DATA and --image-size PIXELS")
    return images, ViewsAsked(image_size=image_size, augment=_augment(augment)), "train"


def _augment(text: str | None) -> AugmentConfig:
    import yaml
    from pydantic import ValidationError

    from mimlab.data.augment import AugmentConfig
    from mimlab_objectives.registry import ParamsError

    try:
        return AugmentConfig.model_validate(yaml.safe_load(text or "{}") or {})
    except (yaml.YAMLError, ValidationError, ParamsError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(
            f"--augment {text}: {' '.join(reason.split())}; expected a mapping such as "
            "{crop_scale: [0.2, 1.0], flip: 0.5}"
        ) from error
