"""Errors that a user can act on. Anything else that reaches the terminal is a bug."""

from __future__ import annotations

from typing import Literal


class UserError(Exception):
    """Bad input or a state that the user must resolve: one clear message, exit code 2.

    The message says where (file, line or field), what is wrong and what would be right.
    """


class NotNow(Exception):
    """What passes without anybody changing the input: one clear message, exit code 75."""


class NoRoom(NotNow):
    """A cluster that lacks nodes now: one clear message, exit code 69."""


def told_in(error: BaseException) -> UserError | None:
    """The user's error that another one was raised from, or that a Ray task raised; else None."""
    inner: BaseException | None = error
    while inner is not None:
        if type(inner) is UserError:
            return inner
        # Ray's own class for it is a UserError, too, whose text is a traceback.
        cause = getattr(inner, "cause", None)
        inner = cause if isinstance(cause, BaseException) else inner.__cause__
    return None


def in_a_line(error: BaseException) -> str:
    """Its kind and the last line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


class TrialError(Exception):
    """A trial that cannot go on, with the state that it ends in."""

    def __init__(self, state: Literal["diverged", "failed"], message: str) -> None:
        super().__init__(message)
        self.state: Literal["diverged", "failed"] = state
