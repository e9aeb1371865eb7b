"""A storage that is slow or away holds up whoever asks for what is in it, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

SLOW_S = 2.0


def test_a_page_that_waits_for_the_storage_holds_up_no_other_request(
    site: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = site()
    dashboard.app.openapi()  # made once, which takes its time

    def slow(folder: str) -> list[str]:
        time.sleep(SLOW_S)
        return []

    monkeypatch.setattr(dashboard.services.store, "list", slow)

    async def other_s() -> float:
        transport = httpx.ASGITransport(dashboard.app, client=("127.0.0.1", 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            began = time.monotonic()
            page = asyncio.create_task(client.get("/"))
            await asyncio.sleep(0.1)
            assert (await client.get("/api/v1/openapi.json")).status_code == 200
            took_s = time.monotonic() - began
            await page
            return took_s

    assert asyncio.run(other_s()) < SLOW_S


def test_a_page_says_that_the_storage_is_away(
    site: Callable, bucket, proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    client = site(storage=bucket.uri("runs").replace(bucket.server, proxy.address)).client()
    proxy.away = True
    answer = client("GET", "/../../")
    assert answer.status_code == 503
    assert answer.text.startswith(f"s3://{bucket.name}/runs/users")
    assert int(answer.headers["Retry-After"]) > 0
