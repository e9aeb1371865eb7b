"""The dashboard: REST API and queue; `mimlab.serve.pages` adds the pages."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from fastapi.security import APIKeyCookie, HTTPBearer

import mimlab
from mimlab.actions.launch import Launcher
from mimlab.actions.own_processes import OwnProcesses
from mimlab.actions.ray_jobs import RayJobs
from mimlab.serve.errors import add_handlers
from mimlab.serve.etags import ETags
from mimlab.serve.identity.page_gate import PageGate
from mimlab.serve.identity.sessions import COOKIE
from mimlab.serve.routes import audit, queue, session, studies, submissions, trials, users
from mimlab.serve.security.bodies import BodyLimit
from mimlab.serve.security.headers import PREFIX, SecurityHeaders
from mimlab.serve.security.origins import SameOrigin
from mimlab.serve.services import Services, add_services
from mimlab.serve.settings import Settings
from mimlab.storage.store import Store

_ROUTERS = (session, submissions, trials, studies, queue, users, audit)


def create_app(settings: Settings, launcher: Launcher | None = None) -> FastAPI:
    """The application, with its queue's loop in its lifespan.

    `launcher`: what starts studies; None: as the settings say. Raises UserError for settings that
    would leave it open to everybody.
    """
    services = Services.of(settings, launcher or launcher_of(settings))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with services.admission.running():
            yield
        services.plans.close()

    app = FastAPI(
        title="mimlab",
        summary="The laboratory for masked image modeling: submissions, trials and their curves.",
        description=_DESCRIPTION,
        version=mimlab.__version__,
        lifespan=lifespan,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    add_services(app, services)
    add_handlers(app)
    for module in _ROUTERS:
        app.include_router(module.router, prefix=PREFIX, dependencies=_DOCUMENTED)
    # The last one is the first that a request meets.
    app.add_middleware(PageGate, callers=services.callers)
    app.add_middleware(ETags)
    app.add_middleware(BodyLimit)
    app.add_middleware(SameOrigin, names=settings.host_names)
    app.add_middleware(SecurityHeaders)
    return app


def launcher_of(settings: Settings) -> Launcher:
    """A cluster's Jobs API, or processes of this machine."""
    if settings.address is None:
        return OwnProcesses(Store(settings.storage))
    return RayJobs(settings.address, page=settings.ray_page)


# What a request carries is looked at by `Callers`; these say it to whoever reads the document.
_DOCUMENTED = [
    Depends(HTTPBearer(auto_error=False, description="What `mimlab user add` printed.")),
    Depends(APIKeyCookie(name=COOKIE, auto_error=False, description="A browser that logged in.")),
]
_DESCRIPTION = """
Every request carries `Authorization: Bearer TOKEN`, unless the dashboard has no users and serves
its own machine alone. Whatever is refused says why, as `{"error": {"message": …, "field": …}}`.
GETs carry an ETag: send it as `If-None-Match`, and what has not changed costs nothing.
"""
