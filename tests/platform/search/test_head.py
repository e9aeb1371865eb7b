"""Which cluster a driver joins, by RAY_ADDRESS."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from mimlab.errors import UserError
from mimlab.search.head import is_up, named_head


@pytest.mark.parametrize("said", [None, "", "local"])
def test_without_an_address_a_ray_is_started_here(
    monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if said is not None:
        monkeypatch.setenv("RAY_ADDRESS", said)
    assert named_head() is None


@pytest.mark.parametrize("said", ["10.0.0.1:6379", "head.cluster.local:6379", "[::1]:6379"])
def test_a_head_is_a_host_and_a_port(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", said)
    assert named_head() == said


@pytest.mark.parametrize("said", ["auto", "ray://head:10001", "http://head:8265", "head", "a:b"])
def test_another_address_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", said)
    with pytest.raises(UserError, match=r"RAY_ADDRESS: .*host:port"):
        named_head()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_head_is_up_when_something_listens(host: str) -> None:
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as head:
        head.bind((host.strip("[]"), 0))
        address = f"{host}:{head.getsockname()[1]}"
        assert not is_up(address)
        head.listen()
        assert is_up(address)
    assert not is_up("no-such-host.invalid:6379")


def tokens(**environment: str) -> list[str]:
    """Mode and token that a driver sets, in a process of its own."""
    program = (
        "import os; from mimlab.search import ray_settings; ray_settings.apply();"
        "print(os.environ.get('RAY_AUTH_MODE'), os.environ.get('RAY_AUTH_TOKEN'))"
    )
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    said = subprocess.run(
        [sys.executable, "-c", program], env=own | environment, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.split()


def test_a_ray_of_ones_own_has_a_token_of_its_own(tmp_path) -> None:
    first, second = tokens(HOME=str(tmp_path)), tokens(HOME=str(tmp_path))
    assert first[0] == second[0] == "token"
    assert len(first[1]) == 64 and first[1] != second[1]


def test_a_cluster_that_is_joined_has_the_users_token_or_none(tmp_path) -> None:
    joined = {"RAY_ADDRESS": "127.0.0.1:6379", "HOME": str(tmp_path)}
    assert tokens(**joined) == ["None", "None"]
    assert tokens(**joined, RAY_AUTH_TOKEN="7" * 64) == ["token", "7" * 64]
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("8" * 64)
    assert tokens(**joined) == ["token", "None"]
