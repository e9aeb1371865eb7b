"""Settings of the MLflow client in this process: fail soon, be quiet, send nothing elsewhere."""

from __future__ import annotations

import logging
import os

_SETTINGS = {
    # The drain retries by itself; MLflow's own 7 retries block for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def prepare_client() -> None:
    """Call before mlflow is imported for the first time; what the user has set stays."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It warns of every attempt that it repeats; the view says once that MLflow is away.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    # A database that is full or locked: a page of traceback, of which the view says a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
