"""Where MLflow's data goes, and what to type to look at it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mimlab.errors import UserError

_SQLITE = "sqlite:///"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class TrackingTarget:
    """An MLflow server or database that mimlab writes to."""

    uri: str
    artifact_root: str | None
    """Folder of pictures and files; None where a server decides."""
    ui_command: str
    """What shows it to the user: a command, or the server's address."""


def resolve_tracking(uri: str | None, storage: str | Path) -> TrackingTarget:
    """The target that `tracking.uri` means.

    Args:
        uri: `http(s)://…`, `sqlite:///…`, or None for a database beside the results.
        storage: the storage root, a path or a URI.

    Raises:
        UserError: a file store, another kind of address, a password in the address, or a local
            database for a remote storage.
    """
    uri = uri or _beside(storage)
    if uri.startswith(("http://", "https://")):
        return TrackingTarget(_without_password(uri), None, uri)
    if not uri.startswith(_SQLITE):
        raise UserError(f"tracking.uri: {_refusal(uri)}")
    if _is_remote(storage):
        raise UserError(
            f"tracking.uri: {uri} is a local database but storage is {storage}: nobody else could "
            "read it; start `mlflow server` and set tracking.uri to its http:// address"
        )
    uri = _SQLITE + str(_database(uri))
    command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return TrackingTarget(uri, artifact_root(uri), command)


def artifact_root(uri: str) -> str | None:
    """`mlartifacts` beside an SQLite database; None for a server, which has its own."""
    return str(_database(uri).parent / "mlartifacts") if uri.startswith(_SQLITE) else None


def local_files(uri: str) -> list[Path]:
    """The database and the artifacts of an SQLite address; none of a server."""
    artifacts = artifact_root(uri)
    return [] if artifacts is None else [_database(uri), Path(artifacts)]


def _beside(storage: str | Path) -> str:
    if _is_remote(storage):
        raise UserError(
            f"tracking.uri: null means a database beside the results, but storage is {storage}; "
            "start `mlflow server` and set tracking.uri to its http:// address, or tell it by "
            "MLFLOW_TRACKING_URI"
        )
    return _SQLITE + str(Path(storage).absolute() / "mlflow.db")


def _database(uri: str) -> Path:
    return Path(uri.removeprefix(_SQLITE)).absolute()


def _is_remote(storage: str | Path) -> bool:
    return isinstance(storage, str) and bool(_SCHEME.match(storage))


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.username or parts.password:
        raise UserError(
            "tracking.uri: the address holds a user name or a password, which would be written "
            "into every record; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    return uri.rstrip("/")


def _refusal(uri: str) -> str:
    if uri.startswith("file:") or not _SCHEME.match(uri):
        return (
            f"{uri!r} is MLflow's file store, which it no longer supports; use null (a database "
            "beside the results), sqlite:///path/mlflow.db or http://host:port"
        )
    scheme = uri.split("://")[0]
    return (
        f"{scheme}:// is not written to directly; start `mlflow server` on it and use the server's "
        "http:// address, or use sqlite:///path/mlflow.db"
    )
