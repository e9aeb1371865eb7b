"""Errors that a user can act on. Anything else that reaches the terminal is a bug."""

from __future__ import annotations

from typing import Literal


class UserError(Exception):
    """Bad input or a state that the user must resolve: one clear message, exit code 2.

    The message says where (file, line or field), what is wrong and what would be right.
    """


class TrialError(Exception):
    """A trial that cannot go on, with the state that it ends in."""

    def __init__(self, state: Literal["diverged", "failed"], message: str) -> None:
        super().__init__(message)
        self.state: Literal["diverged", "failed"] = state
