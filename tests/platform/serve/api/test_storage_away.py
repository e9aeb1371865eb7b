"""A storage that is slow or away holds up whoever asks for what is in it, and nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
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


def raising(error: Exception) -> Callable:
    def failing(*_: object, **__: object) -> None:
        raise error

    return failing


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("path", ["/submissions", "/../../"])
def test_a_folder_that_is_full_or_away_is_no_bug(
    site: Callable, monkeypatch: pytest.MonkeyPatch, code: int, path: str
) -> None:
    """`/../../`: a page, which looks for the user before it is made."""
    dashboard = site()
    full = OSError(code, os.strerror(code), "/runs/x")
    monkeypatch.setattr(dashboard.services.store, "list", raising(full))
    answer = dashboard.client()("GET", path)
    assert answer.status_code == 503
    assert answer.json()["error"]["message"].startswith("/runs/x: ")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_so_is_one_that_cannot_be_written(
    site: Callable, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    dashboard = site()
    failing = raising(OSError(code, os.strerror(code)))
    monkeypatch.setattr(dashboard.services.store, "write_record", failing)
    answer = dashboard.client()("PUT", "/quotas", json={})
    assert answer.status_code == 503
    assert answer.json()["error"]["message"].startswith("the storage: ")


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), KeyError("x")])
def test_a_bug_is_in_the_log_whoever_asked(
    site: Callable, monkeypatch: pytest.MonkeyPatch, caplog, error: Exception
) -> None:
    dashboard = site()
    monkeypatch.setattr(dashboard.services.reading, "submissions", raising(error))
    assert dashboard.client()("GET", "/submissions").status_code == 500
    (record,) = caplog.records
    assert record.getMessage() == "GET /api/v1/submissions failed"
    assert record.exc_info is not None and record.exc_info[1] is error
