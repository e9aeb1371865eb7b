"""The connection to MLflow, and what its errors mean. Imports mlflow: seconds."""

from __future__ import annotations

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
