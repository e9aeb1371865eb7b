"""`mimlab profile`: where the time of a study's steps goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import Json, Overrides, Preset, StudyFile
from mimlab.search import ray_settings

if TYPE_CHECKING:
    from mimlab.search.profile import ShapeProfile

GIB = 2**30


def profile(
    file: StudyFile,
    preset: Preset = None,
    overrides: Overrides = None,
    steps: Annotated[int, typer.Option(min=20, help="Steps of each distinct shape.")] = 40,
    as_json: Json = False,
) -> None:
    """Run some steps of each distinct shape and show where their time goes.

    Nothing of it is kept. Example: mimlab profile sweeps/quickstart.yaml
    """
    ray_settings.apply()
    from mimlab.search.profile import profile as profile_study  # torch and Ray take seconds
    from mimlab.spec.load import load_study

    console = Console(stderr=True)
    loaded = load_study(file, preset, overrides or [])
    with console.status("running some steps of each shape"):
        found = profile_study(loaded, steps=steps)
    if as_json:
        typer.echo("[" + ",\n".join(shape.model_dump_json() for shape in found) + "]")
        return
    Console().print(_table(loaded.study.study, found))


def _table(study: str, found: list[ShapeProfile]) -> Table:
    """A column for each shape, because shapes are few and figures many."""
    table = Table(title=f"{study}: steps by shape", title_justify="left")
    table.add_column("")
    for shape in found:
        point = "\n".join(f"{path}={value}" for path, value in shape.point.items())
        table.add_column(point or "the study", justify="right")
    rows = [
        ("trials of this shape", [str(s.trials) for s in found]),
        ("images/s of a worker", [f"{s.images_per_s:,.0f}" for s in found]),
        ("step", [f"{s.step_s * 1e3:,.1f} ms" for s in found]),
        *((name, [f"{s.shares[name]:.1%}" for s in found]) for name in found[0].shares),
        ("GFLOP an image", [f"{s.flops_per_image / 1e9:.3g}" for s in found]),
        ("GFLOP/s", [f"{s.flop_rate / 1e9:,.0f}" for s in found]),
        ("of the matrix rate", [f"{s.flop_rate / s.matrix_rate:.0%}" for s in found]),
        ("peak memory", [f"{s.peak_memory_bytes / GIB:.2f} GiB" for s in found]),
        *(
            (f"probe {name}", [f"{s.probe_s[name]:.1f} s" for s in found])
            for name in found[0].probe_s
        ),
    ]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table
