"""How a dashboard is started, and when it refuses to be."""

from __future__ import annotations

import ipaddress
import socket

from pydantic import BaseModel, ConfigDict

from mimlab.errors import UserError

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Settings(BaseModel):
    """What `mimlab dashboard` was asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    storage: str
    """The folder of results, or its URI."""
    host: str = "127.0.0.1"
    """The address that it listens at."""
    port: int = 8080
    address: str | None = None
    """Ray's Jobs API, `http://head:8265`; None: studies run as processes of this machine."""
    roots: tuple[str, ...] = ()
    """Folders, URIs and MLflow servers that pasted studies may name, besides the storage."""
    names: tuple[str, ...] = ()
    """Host names that it answers to, besides this machine's own."""
    mlflow_page: str | None = None
    """Where a browser reaches MLflow, if not at the address that drivers send to."""
    ray_page: str | None = None
    """The same of Ray's dashboard."""
    users_only: bool = False
    """Nobody gets in without a token, also while there are no users yet."""
    certfile: str | None = None
    keyfile: str | None = None
    """TLS; without them a reverse proxy has to see to it."""

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host == "localhost" or _is_loopback(self.host)

    @property
    def host_names(self) -> list[str]:
        """Every name that it answers to; IP addresses aside, which nobody can point elsewhere."""
        own = () if self.local else (socket.gethostname(), socket.getfqdn(), self.host)
        return [*LOOPBACK, *own, *self.names]

    def check(self, *, has_users: bool) -> None:
        """Raises UserError where the dashboard would be open to everybody."""
        if self.local or has_users or self.users_only:
            return
        raise UserError(
            f"--host {self.host}: others could reach the dashboard, and there are no users yet, so "
            "that everybody could do everything. Make some with `mimlab user add NAME --role "
            "submitter`, or keep everybody out until then by --users-only; and encrypt the way "
            "there: by a reverse proxy, or with --certfile and --keyfile"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
