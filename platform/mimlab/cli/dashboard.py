"""`mimlab dashboard`: pages and API of a storage."""

from __future__ import annotations

import socket
from typing import Annotated
from urllib.parse import urlsplit

import typer

from mimlab.cli.options import RUNS, Storage


def _own_name() -> list[str]:
    """The name in the address that MLflow's links lead to."""
    from mimlab.track import dashboard as own

    name = urlsplit(own.told()).hostname
    return [name] if name else []


def _check_free(host: str, port: int) -> None:
    """Raises UserError where nobody can listen there."""
    from mimlab.errors import UserError

    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise UserError(
            f"cannot listen at {host}:{port}: {error.strerror}; choose another --port or --host"
        ) from None


def dashboard(  # noqa: PLR0913  (the options of a command)
    storage: Storage = RUNS,
    host: Annotated[
        str, typer.Option(help="Where it listens. Others reach it at 0.0.0.0, if there are users.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of its pages and API.")] = 8080,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="MIMLAB_RAY_DASHBOARD",
            help="Ray's Jobs API, http://head:8265; without it studies run on this machine.",
        ),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|URI",
            envvar="MIMLAB_ROOTS",
            help="A folder, bucket or MLflow server that pasted studies may name; repeatable.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which others reach it; repeatable."),
    ] = None,
    users_only: Annotated[
        bool,
        typer.Option("--users-only", help="Let nobody in without a token, before users are, too."),
    ] = False,
    mlflow_page: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="MIMLAB_MLFLOW_PAGE",
            help="Where browsers reach MLflow, if not where drivers do.",
        ),
    ] = None,
    ray_page: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="MIMLAB_RAY_PAGE", help="The same of Ray's dashboard."),
    ] = None,
    certfile: Annotated[str | None, typer.Option(help="TLS certificate, PEM.")] = None,
    keyfile: Annotated[str | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Serve the dashboard: pages, and the REST API under /api/v1.

    It keeps no state of its own: everything is in the storage, which `mimlab user` gives users.
    Without any, it serves this machine alone, and whoever sits there is an operator.

    Example: mimlab dashboard --root /data --address http://head:8265
    """
    import uvicorn  # these take seconds to import

    from mimlab.errors import UserError
    from mimlab.serve.app import create_app
    from mimlab.serve.pages import add_pages
    from mimlab.serve.settings import Settings

    if (certfile is None) != (keyfile is None):
        raise UserError("--certfile and --keyfile go together")
    settings = Settings(
        storage=storage,
        host=host,
        port=port,
        address=address,
        roots=tuple(root or ()),
        names=(*(allow_host or ()), *_own_name()),
        users_only=users_only,
        mlflow_page=mlflow_page or None,
        ray_page=ray_page or None,
        certfile=certfile,
        keyfile=keyfile,
    )
    app = create_app(settings)
    add_pages(app, settings)
    _check_free(host, port)
    scheme = "http" if certfile is None else "https"
    typer.echo(f"dashboard of {storage}: {scheme}://{host}:{port}  (API: /api/v1/openapi.json)")
    if not settings.local and certfile is None:
        typer.echo(
            "tokens travel unencrypted here: put a reverse proxy with TLS before it", err=True
        )
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        server_header=False,
    )
