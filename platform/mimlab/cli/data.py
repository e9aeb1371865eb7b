"""`mimlab data`: import images and maps, and look at what was imported."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.bars import bar
from mimlab.cli.maps import maps
from mimlab.data.inspection import Inspection, SplitInspection, inspect
from mimlab.errors import UserError

CLASSES_SHOWN = 12

app = typer.Typer(
    help="Import images and maps, and look at what was imported.", no_args_is_help=True
)
app.command("maps")(maps)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("import")
def import_command(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of images, Hugging Face Parquet, or WebDataset tars (.tar, .tar.gz): "
            "a path or a URI."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="DIR", help="The data set's folder, or its URI; must not exist yet."
        ),
    ],
    split: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATTERN of files or NAME=FOLDER of images; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the permutation of the rows.")] = 0,
    short_side: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Re-encode images whose shorter side has more pixels to this many; "
            "256 serves training at 224 and decodes faster.",
        ),
    ] = None,
    max_rejects: Annotated[
        float, typer.Option(min=0, max=1, help="Share of unreadable images that may be left out.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Turn images into a data set: permuted Parquet shards with a manifest.

    Example: mimlab data import imagenet/ --to /data/imagenet-1k --short-side 256

    Example: mimlab data import imagenet/ --to s3://team/imagenet-1k

    Example: mimlab data import tars/ --to /data/birds --split 'train=birds-0*.tar'
    """
    from mimlab.data.importing import import_data  # Ray takes seconds to import

    with bar() as progress:
        task = progress.add_task("listing", total=None)

        def on_progress(done: int, total: int) -> None:
            what = "checking" if 2 * done < total else "writing"
            progress.update(task, description=what, completed=done, total=total)

        import_data(
            source,
            to,
            seed=seed,
            splits=_splits(split or []),
            short_side=short_side,
            max_reject_share=max_rejects,
            on_progress=on_progress,
        )
    _show(inspect(to), as_json)


@app.command("inspect")
def inspect_command(
    dataset: Annotated[str, typer.Argument(help="The data set's folder, or its URI.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything; compare hashes and fingerprint.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what a data set holds, after checking it against its manifest.

    Example: mimlab data inspect /data/imagenet-1k --verify
    """
    _show(inspect(dataset, verify), as_json)


def _splits(options: list[str]) -> dict[str, str]:
    splits = {}
    for option in options:
        name, equals, where = option.partition("=")
        if not (name.isidentifier() and equals and where):
            raise UserError(f"--split {option}: expected NAME=PATTERN, e.g. --split train=train/")
        splits[name] = where
    return splits


def _show(inspection: Inspection, as_json: bool) -> None:
    if as_json:
        typer.echo(inspection.model_dump_json(indent=1))
        return
    console = Console()
    console.print(_facts(inspection))
    console.print(_split_table(inspection.splits))
    if any(split.classes for split in inspection.splits):
        console.print(_class_table(inspection.splits))


def _facts(found: Inspection) -> Table:
    width, height = found.width, found.height
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a fingerprint is of no use in part
    table.add_row("data set", found.root)
    checked = " (verified)" if found.verified else ""
    table.add_row("fingerprint", found.fingerprint + checked)
    table.add_row("images", f"{found.images:,} in {found.bytes / 1e6:,.1f} MB, seed {found.seed}")
    limit = "as in the source" if found.short_side is None else f"at most {found.short_side} pixels"
    table.add_row("short side", limit)
    table.add_row("width", f"{width.min} to {width.max}, median {width.median}")
    table.add_row("height", f"{height.min} to {height.max}, median {height.median}")
    table.add_row("rejected", _listing(found.rejects))
    table.add_row("converted", _listing(found.converted))
    table.add_row("ignored files", f"{found.ignored:,}")
    return table


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} × {reason}" for reason, count in counts.items()) or "none"


def _split_table(splits: list[SplitInspection]) -> Table:
    table = Table("split", title_justify="left")
    for name in ("images", "unlabelled", "shards", "row groups", "MB"):
        table.add_column(name, justify="right")
    for split in splits:
        counts = (split.rows, split.unlabelled, split.shards, split.row_groups)
        table.add_row(split.name, *(f"{n:,}" for n in counts), f"{split.bytes / 1e6:,.1f}")
    return table


def _class_table(splits: list[SplitInspection]) -> Table:
    names = list(splits[0].classes)
    table = Table("class")
    for split in splits:
        table.add_column(split.name, justify="right")
    for name in names[:CLASSES_SHOWN]:
        table.add_row(name, *(f"{split.classes[name]:,}" for split in splits))
    if len(names) > CLASSES_SHOWN:
        table.add_row(f"… {len(names) - CLASSES_SHOWN:,} more (--json shows all)")
    return table
