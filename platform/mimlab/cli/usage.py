"""What is wrong with a command line, in one line as every other mistake."""

from __future__ import annotations

from typing import Any

import typer

UsageError: Any = typer.BadParameter.__bases__[0]
"""What typer raises for an option that is missing, unknown or wrong; it exports only one heir."""


def usage_words(error: Any) -> str:
    """Which command, what is wrong, and where to read on, of a `UsageError`.

    Empty where nothing was asked: typer has then printed the help.
    """
    said = " ".join(error.format_message().split()).rstrip(".")
    if not said:
        return ""
    command = error.ctx.command_path if error.ctx else "mimlab"
    return f"{command}: {said[0].lower()}{said[1:]}; `{command} --help` says what it takes"
