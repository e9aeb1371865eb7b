"""`mimlab`: from a study file to compared probe results.

Exit codes: 0 done, 1 a trial failed or the run was stopped, 2 the input must be changed.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from mimlab.cli import board, data, export, masks, parts, probe, profile, run, study, tokens
from mimlab.cli.usage import UsageError, usage_words
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab_objectives.registry import ParamsError

app = typer.Typer(
    help="The laboratory for masked image modeling on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(tokens.app, name="tokens")
app.command("validate")(study.validate)
app.command("plan")(study.plan)
app.command("schema")(study.schema)
app.command("profile")(profile.profile)
app.command("run")(run.run)
app.command("resume")(run.resume)
app.command("probe")(probe.probe)
app.command("compare")(run.compare)
app.command("export")(export.export)
app.command("list")(parts.list_parts)
app.command("board")(board.board)
app.command("masks")(masks.masks)


def main() -> None:
    """Entry point: a user's mistake, or a bucket that is away, is one message and exit code 2.

    So is a part that cannot be built here, such as a teacher whose weights are gone.
    """
    try:
        code = app(prog_name="mimlab", standalone_mode=False)
    except UsageError as error:
        _refuse(usage_words(error))
    except (UserError, RemoteError, ParamsError) as error:
        _refuse(str(error))
    else:
        sys.exit(code or 0)


def _refuse(words: str) -> NoReturn:
    if words:
        print(f"error: {words}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
