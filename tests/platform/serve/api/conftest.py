"""The real application over an empty storage, with users, and a launcher that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

STUDY = """
study: tiny
data: {images: digits, image_size: 16, augment: {crop_scale: [0.6, 1.0], flip: 0.0}}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2}
objective: {name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels}
masking: {name: random, ratio: 0.75}
train: {budget: {steps: 24}, batch_size: 100, warmup_epochs: 0.3}
"""


@dataclass
class Cluster:
    """Where studies run: nothing runs, but it is remembered what was started and stopped."""

    states: dict[str, str] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    words: dict[str, list[str]] = field(default_factory=dict)
    away: bool = False

    def start(self, submission_id: str, words: list[str], working_dir: Path | None) -> None:
        from mimlab.errors import UserError

        if self.away:
            raise UserError("no Ray dashboard answers there")
        if working_dir is not None:
            assert working_dir.read_bytes()
        self.states[submission_id] = "running"
        self.started.append(submission_id)
        self.words[submission_id] = words

    def state(self, submission_id: str) -> str | None:
        return self.states.get(submission_id)

    def log_tail(self, submission_id: str, lines: int) -> str:
        return "\n".join(["began", "went on"][-lines:]) if submission_id in self.states else ""

    def page(self, submission_id: str) -> str | None:
        return f"http://head:8265/#/jobs/{submission_id}" if submission_id in self.states else None

    def stop(self, submission_id: str) -> None:
        if submission_id in self.states:
            self.states[submission_id] = "ended"


class Site:
    """A dashboard, and those who use it."""

    def __init__(
        self,
        root: Path | str,
        cluster: Cluster,
        *roots: str,
        host: str = "127.0.0.1",
        users_only: bool = False,
    ) -> None:
        from mimlab.serve.app import create_app
        from mimlab.serve.services import services_of
        from mimlab.serve.settings import Settings

        settings = Settings(storage=str(root), roots=roots, host=host, users_only=users_only)
        self.app: FastAPI = create_app(settings, cluster)
        self.services = services_of(self.app)
        self.cluster = cluster

    def client(self, token: str | None = None, at: str = "127.0.0.1", **headers: str) -> Client:
        """Somebody with a token, or without, at an address."""
        sent = headers | ({} if token is None else {"Authorization": f"Bearer {token}"})
        return Client(self.app, sent, at)

    def user(self, name: str, role: str) -> Client:
        """A new user, who sends a token."""
        return self.client(self.services.users.add(name, role))  # pyright: ignore


class Client:
    """Sends requests to an application in this process, each in an event loop of its own."""

    def __init__(self, app: FastAPI, headers: dict[str, str], address: str) -> None:
        self._app = app
        self._address = address
        self.headers = headers
        self.cookies: dict[str, str] = {}

    def __call__(self, method: str, path: str, **given: object) -> httpx.Response:
        import anyio

        response = anyio.run(self._send, method, path, given)
        self.cookies |= dict(response.cookies)
        return response

    async def _send(self, method: str, path: str, given: dict) -> httpx.Response:
        headers = self.headers | given.pop("headers", {})
        transport = httpx.ASGITransport(
            self._app, raise_app_exceptions=False, client=(self._address, 50000)
        )
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", cookies=self.cookies
        ) as client:
            return await client.request(method, f"/api/v1{path}", headers=headers, **given)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Starts dashboards of one storage, a folder unless another one is named."""
    made: list[Site] = []

    def start(*roots: str, storage: str | None = None, **changes: Any) -> Site:
        made.append(Site(storage or tmp_path / "results", Cluster(), *roots, **changes))
        return made[-1]

    yield start
    for each in made:
        each.services.plans.close()


@pytest.fixture
def new_cluster() -> type[Cluster]:
    """Makes one on which nothing was started."""
    return Cluster


@pytest.fixture
def study() -> str:
    """A tiny study of the built-in digits."""
    return STUDY
