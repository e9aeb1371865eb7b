"""`mimlab`: from a study file to compared probe results.

Exit codes: 0 done; 1 a trial failed, or a user stopped the run; 2 the input must be changed; 70 a
bug; 69 nodes or storage are away, 75 interrupted: the same command goes on.
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer

from mimlab.cli import (
    actions,
    board,
    dashboard,
    data,
    export,
    gc,
    masks,
    parts,
    probe,
    profile,
    replay,
    resume,
    run,
    status,
    study,
    submit,
    supervise,
    sync,
    tokens,
    user,
)
from mimlab.cli.usage import UsageError, usage_words
from mimlab.errors import NoRoom, NotNow, UserError
from mimlab.exits import CRASHED, DONE, FAILED, INTERRUPTED, REFUSED, UNAVAILABLE
from mimlab.search.supervision import supervised
from mimlab.storage.filesystems import RemoteError, passes
from mimlab.storage.patience import OutOfPatience, trouble_of
from mimlab_objectives.registry import ParamsError

app = typer.Typer(
    help="The laboratory for masked image modeling on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(tokens.app, name="tokens")
app.add_typer(user.app, name="user")
app.command("validate")(study.validate)
app.command("plan")(study.plan)
app.command("schema")(study.schema)
app.command("profile")(profile.profile)
app.command("run")(run.run)
app.command("resume")(resume.resume)
app.command("supervise")(supervise.supervise)
app.command("submit")(submit.submit)
app.command("status")(status.status)
app.command("logs")(status.logs)
app.command("stop")(actions.stop)
app.command("pause")(actions.pause)
app.command("fork")(actions.fork)
app.command("extend")(actions.extend)
app.command("replay")(replay.replay)
app.command("probe")(probe.probe)
app.command("compare")(run.compare)
app.command("sync")(sync.sync)
app.command("export")(export.export)
app.command("gc")(gc.gc)
app.command("list")(parts.list_parts)
app.command("board")(board.board)
app.command("masks")(masks.masks)
app.command("dashboard")(dashboard.dashboard)


def main() -> None:
    """Entry point: a user's mistake, or a bucket that is away, is one message and exit code 2.

    So is a part that cannot be built here, such as a teacher whose weights are gone.
    """
    try:
        code = app(prog_name="mimlab", standalone_mode=False)
    except UsageError as error:
        _end(usage_words(error), REFUSED)
    except (UserError, RemoteError, ParamsError) as error:
        # A supervisor waits for a bucket, as it does for a cluster; a user may have misspelt it.
        _end(str(error), UNAVAILABLE if supervised() and passes(error) else REFUSED)
    except (NoRoom, OutOfPatience) as error:
        _end(str(error), UNAVAILABLE)
    except NotNow as error:
        _end(str(error), INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        _end("stopped before anything was started", FAILED)
    except OSError as error:
        trouble = trouble_of(error, str(error.filename or ""))
        if trouble is None:
            _crash()
        _end(trouble.reason, UNAVAILABLE)
    except Exception:
        _crash()
    else:
        sys.exit(code or DONE)


def _crash() -> NoReturn:
    traceback.print_exc()
    sys.exit(CRASHED)


def _end(words: str, code: int) -> NoReturn:
    if words:
        print(f"error: {words}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
