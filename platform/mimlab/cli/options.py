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
As = Annotated[
    str | None,
    typer.Option("--as", hidden=True, help="The id of the submission, which was chosen before."),
]
Origin = Annotated[
    Path | None,
    typer.Option(hidden=True, help="The file that STUDY is a copy of: where its paths begin."),
]
By = Annotated[str | None, typer.Option(hidden=True, help="Who asked for it, from elsewhere.")]
Audit = Annotated[
    bool,
    typer.Option("--audit", hidden=True, help="Say in the audit log that it was submitted."),
]
Trials = Annotated[
    list[str] | None,
    typer.Option("--trial", metavar="TRIAL", help="Only this trial; repeatable."),
]
ADDRESS = "MIMLAB_ADDRESS"
Address = Annotated[
    str | None,
    typer.Option(
        envvar=ADDRESS,
        metavar="URL",
        help="The dashboard of a Ray cluster's head, http://head:8265.",
    ),
]
RUNS = "runs"
"""Where results go unless a study says otherwise."""
