"""Errors that a user can act on. Anything else that reaches the terminal is a bug."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a state that the user must resolve: one clear message, exit code 2.

    The message says where (file, line or field), what is wrong and what would be right.
    """


class TrialError(Exception):
    """A trial that cannot go on, with the status that it ends in (`diverged`, `failed`, …)."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
