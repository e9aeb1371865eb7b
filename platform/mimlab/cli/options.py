"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's YAML file.")]
Preset = Annotated[str | None, typer.Option(help="A named overlay of the study.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one key; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Storage = Annotated[
    str, typer.Option(metavar="FOLDER", help="The folder of results, or its s3:// URI.")
]
RUNS = "runs"
"""Where results go unless a study says otherwise."""
