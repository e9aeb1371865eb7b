"""`mimlab supervise`: a run that is started again when it dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimlab.cli.options import (
    ADDRESS,
    RUNS,
    As,
    Audit,
    By,
    Origin,
    Overrides,
    Preset,
    Storage,
    Trials,
)
from mimlab.errors import UserError

if TYPE_CHECKING:
    from mimlab.storage.folders import SubmissionFolder


def supervise(  # noqa: PLR0913  (the options of a command)
    target: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|SUBMISSION",
            help="The study's YAML file as for `run`, or a submission as for `resume`.",
        ),
    ],
    preset: Preset = None,
    overrides: Overrides = None,
    new: Annotated[
        bool, typer.Option("--new", help="Start another submission beside an unfinished one.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Start failed and diverged trials again.")
    ] = False,
    storage: Storage = RUNS,
    grace: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="For saving after Ctrl-C or SIGTERM; then it is killed.",
        ),
    ] = 120.0,
    trials: Trials = None,
    as_id: As = None,
    origin: Origin = None,
    by: By = None,
    audit: Audit = False,
) -> None:
    """Run a study and start it again whenever it dies, until it is done or stopped.

    A driver that was killed, crashed or lost its Ray goes on from the last checkpoints, after a
    wait that grows while nothing is gained. With RAY_ADDRESS it waits for that head to come back.

    Example: mimlab supervise sweeps/quickstart.yaml
    """
    from mimlab.search.head import named_head
    from mimlab.search.supervisor import Patience, Supervisor

    os.environ.pop(ADDRESS, None)  # its drivers run here, and `resume` would send them away
    retry = ["--retry-failed"] if retry_failed else []
    only = [word for trial in trials or [] for word in ("--trial", trial)]
    if _is_file(target):
        if only:
            raise UserError(f"{target}: --trial chooses among those of a submission; name its id")
        hidden = {"--as": as_id, "--origin": origin, "--by": by}
        told = [word for name, value in hidden.items() if value for word in (name, str(value))]
        told += ["--audit"] if audit else []
        options = [*_study_options(preset, overrides), *(["--new"] if new else []), *told]
        first = ["run", target, *options]
    elif preset or overrides or new:
        raise UserError(
            f"{target}: there is no such study file, and a submission takes no --preset, --set or "
            "--new; name the file"
        )
    else:
        told = [] if by is None else ["--by", by]
        first = ["resume", target, "--storage", storage, *only, *told]

    def command(found: SubmissionFolder | None) -> list[str]:
        again = found and ["resume", found.id, "--storage", str(found.store.root), *only]
        again = again and [*again, "--restarted"]
        return [sys.executable, "-P", "-m", "mimlab.cli.main", *(again or first), *retry]

    supervisor = Supervisor(command, _say, head=named_head(), patience=Patience(grace_s=grace))
    raise typer.Exit(supervisor.run())


def _is_file(target: str) -> bool:
    return Path(target).is_file() or Path(target).suffix in (".yaml", ".yml")


def _study_options(preset: str | None, overrides: list[str] | None) -> list[str]:
    chosen = [] if preset is None else ["--preset", preset]
    return [*chosen, *(word for change in overrides or [] for word in ("--set", change))]


def _say(line: str) -> None:
    print(f"supervise: {line}", file=sys.stderr, flush=True)
