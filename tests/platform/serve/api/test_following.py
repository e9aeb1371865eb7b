"""Pages go on with what the API refused a moment ago: asked for in this process, by no browser."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from mimlab.serve.app import create_app
from mimlab.serve.errors import ApiError
from mimlab.serve.pages import add_pages, submissions, trial
from mimlab.serve.pages.parts.refused import Refused
from mimlab.serve.pages.parts.trial_top import TrialTop
from mimlab.serve.reading.models import SubmissionSummary, TrialDetail
from mimlab.serve.services import services_of
from mimlab.serve.settings import Settings

# NiceGUI looks for its server among all objects, some of which are deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
Look = Callable[[], Awaitable[None]]


class Pages:
    """A dashboard with its pages, whose looks are taken by the test instead of a timer."""

    def __init__(self, root: Path) -> None:
        settings = Settings(storage=str(root))
        self.app: FastAPI = create_app(settings)
        add_pages(self.app, settings)
        self.reading = services_of(self.app).reading
        self.looks: list[Look] = []

    def run(self, path: str, then: Callable[[], Awaitable[None]] | None = None) -> int:
        """The status of a page, and what follows in the same event loop."""

        async def opened() -> int:
            transport = httpx.ASGITransport(
                self.app, raise_app_exceptions=False, client=("127.0.0.1", 50000)
            )
            async with (
                self.app.router.lifespan_context(self.app),
                httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
            ):
                answer = await client.get(path)
                if then is not None:
                    await then()
                return answer.status_code

        return asyncio.run(opened())


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """NiceGUI keeps the pages of one application in a process."""
    return Pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def pages(one_site: Pages, monkeypatch: pytest.MonkeyPatch) -> Pages:
    one_site.looks.clear()

    def follow(look: Look, _: Any) -> None:
        one_site.looks.append(look)

    for module in (trial, submissions):
        monkeypatch.setattr(module, "follow", follow)
    return one_site


def away(*_: object, **__: object) -> None:
    raise ApiError(503, "the storage is away")


def test_a_trial_s_page_opens_while_its_curves_are_away(
    pages: Pages, storage_at, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at(pages.reading.store.root)
    one = storage.trial()
    storage.submission(trials=[one])
    monkeypatch.setattr(pages.reading, "curves", away)
    assert pages.run(f"/trials/{one.id}") == 200
    assert len(pages.looks) == 1


def test_a_trial_s_page_loses_no_news_by_a_refusal(
    pages: Pages, storage_at, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at(pages.reading.store.root)
    one = storage.trial()
    storage.submission(trials=[one])
    shown: list[int] = []

    def show(_: TrialTop, detail: TrialDetail, of: SubmissionSummary) -> None:
        shown.append(detail.summary.step)

    monkeypatch.setattr(TrialTop, "show", show)

    async def followed() -> None:
        (look,) = pages.looks
        await look()
        storage.status(one, "stopped", 40)
        with monkeypatch.context() as patch:
            patch.setattr(pages.reading, "submission", away)
            with pytest.raises(Refused, match="away"):
                await look()
        await look()

    assert pages.run(f"/trials/{one.id}", followed) == 200
    assert shown[-1] == 40


def test_the_list_loses_no_news_by_a_refusal(
    pages: Pages, storage_at, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at(pages.reading.store.root)
    shown: list[list[str]] = []
    update = submissions.tables.SortedTable.update_rows

    def seen(self: Any, rows: list[dict[str, Any]], **how: Any) -> None:
        shown.append([row["id"] for row in rows])
        update(self, rows, **how)

    monkeypatch.setattr(submissions.tables.SortedTable, "update_rows", seen)

    async def followed() -> None:
        (look,) = pages.looks
        storage.submission("new-20260115-101500", [storage.trial(seed=7)])
        with monkeypatch.context() as patch:
            patch.setattr(services_of(pages.app).queue, "entries", away)
            with pytest.raises(Refused, match="away"):
                await look()
        await look()

    assert pages.run("/", followed) == 200
    assert "new-20260115-101500" in shown[-1]
