"""What `up` is asked for."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from mimlab.errors import UserError
from mimlab.storage.remote_path import is_uri, place_of

LONGEST_FOLDER = 38
"""Characters: Ray's and PostgreSQL's sockets below it have to stay under the kernel's 107."""


def _absolute(place: str) -> str:
    return place if is_uri(place) else str(Path(place).absolute())


AbsolutePlace = Annotated[str, AfterValidator(_absolute)]
"""A URI, or a path that means the same in every process: services run in a folder of their own."""


class Ports(BaseModel):
    """Where each service listens, on 127.0.0.1."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ray: int = 6379
    """Ray's head, which nodes and drivers join."""
    jobs: int = 8265
    """Ray's own page and its Jobs API."""
    mlflow: int = 5000
    """MLflow's page and API."""
    dashboard: int = 8080
    """mimlab's pages and API."""


class Settings(BaseModel):
    """Everything that decides what runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path
    """Holds databases, artifacts, logs and secrets."""
    storage: AbsolutePlace
    """Results: what the dashboard shows."""
    ports: Ports = Ports()
    nodes: int = 2
    """Ray nodes besides the head."""
    cpus: int = max(2, (os.cpu_count() or 2) // 2) + 1
    """Logical CPUs of each node, one more than its cores: reading and probing mostly wait. The head
    has none, so that drivers have it for themselves."""
    gpus: int = 0
    """GPUs, shared out over the nodes."""
    roots: tuple[AbsolutePlace, ...] = ()
    """Folders and buckets that studies sent through the dashboard may name, besides `storage`."""
    secure: bool = False
    """Whether MLflow and the dashboard ask who is there."""

    def check(self) -> None:
        """Raises UserError for what could not be started."""
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise UserError(
                f"--folder: {self.folder} has more than {LONGEST_FOLDER} characters, and the "
                "sockets below it would be too long; choose a shorter one"
            )
        from mimlab.serve.security.roots import Roots  # torch takes seconds

        Roots.of(self.roots, place_of(self.storage))


def default_folder() -> Path:
    """`~/.mimlab`; as root a place that PostgreSQL's own user can reach."""
    return Path("/var/lib/mimlab") if os.geteuid() == 0 else Path.home() / ".mimlab"


def database_user() -> str | None:
    """Who runs PostgreSQL, which refuses root; None: whoever calls. Raises UserError."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError as error:
        raise UserError(
            "PostgreSQL does not run as root, and there is no user `postgres`; call this as "
            "another user, or install Debian's `postgresql`"
        ) from error
    return "postgres"
