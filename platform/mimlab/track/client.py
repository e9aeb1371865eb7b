"""The connection to MLflow, and what its errors mean. Imports mlflow: seconds."""

from __future__ import annotations

from collections.abc import Iterator

import requests
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_MAX_WORDS = 300


def connect(uri: str) -> MlflowClient:
    """A client of `uri`; an SQLite database is created or upgraded, which takes seconds."""
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def is_missing(error: Exception) -> bool:
    """Whether MLflow no longer has what was asked for: deleted for good, or another database."""
    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def is_outage(error: Exception) -> bool:
    """Whether MLflow as a whole is away, rather than refusing one request."""
    if isinstance(error, MlflowException):
        return error.error_code not in _REFUSALS
    return isinstance(error, requests.RequestException | sqlalchemy.exc.SQLAlchemyError)


def words(error: BaseException) -> str:
    """What went wrong, in a line that stays the same for as long as it is so.

    MLflow's own words for a server that is away hold addresses in memory and the request.
    """
    for cause in _chain(error):
        said = str(cause)
        if isinstance(cause, requests.Timeout) or "timed out" in said:
            return "it does not answer in time"
        if isinstance(cause, requests.ConnectionError):
            return "nobody answers there" if "refused" in said else "it cannot be reached"
    # Of a database's error: what it says, not the statement that it says it of.
    return " ".join(str(error).partition("\n[SQL")[0].split())[:_MAX_WORDS]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised because of."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
