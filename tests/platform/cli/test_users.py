"""`mimlab user` and the refusals of `mimlab dashboard`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mimlab.cli.main import app
from mimlab.errors import UserError
from mimlab.serve.identity.users import Users
from mimlab.storage.store import Store


def ran(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_user_is_made_listed_changed_and_locked_out(tmp_path: Path) -> None:
    where = ("--storage", str(tmp_path))
    users = Users(Store(tmp_path))
    token = ran("user", "add", "ada", "--role", "submitter", *where).strip()
    found = users.of_token(token)
    assert found is not None and found.role == "submitter"
    ran("user", "role", "ada", "operator", *where)
    assert "operator" in ran("user", "list", *where)
    again = ran("user", "token", "ada", *where).strip()
    assert (users.of_token(token), users.of_token(again)) != (None, None)
    assert users.of_token(token) is None
    ran("user", "revoke", "ada", *where)
    assert users.of_token(again) is None
    assert "revoked" in ran("user", "list", *where)


def test_what_is_done_to_users_is_in_the_audit_log(tmp_path: Path) -> None:
    from mimlab.actions import audit

    where = ("--storage", str(tmp_path))
    ran("user", "add", "ada", *where)
    ran("user", "role", "ada", "operator", *where)
    ran("user", "token", "ada", *where)
    ran("user", "revoke", "ada", *where)
    said = [(line.what, line.on) for line in audit.read(Store(tmp_path))]
    assert said == [(what, "ada") for what in ("add user", "change role", "renew token", "revoke")]


def test_roles_are_shown_and_no_others_taken(tmp_path: Path) -> None:
    assert "| set quotas | no | no | all |" in ran("user", "roles")
    wrong = ["user", "add", "ada", "--role", "king", "--storage", str(tmp_path)]
    assert CliRunner().invoke(app, wrong).exit_code == 2
    assert not Users(Store(tmp_path)).any()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), "mimlab user add"),
        (("--certfile", "cert.pem"), "go together"),
        (("--root", "/nowhere/at/all"), "no such folder"),
        (("--address", "head:8265"), "http://HOST:8265"),
    ],
)
def test_a_dashboard_that_cannot_be_says_why(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        ran("dashboard", "--storage", str(tmp_path), *words)


def test_a_dashboard_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port}: Address already in use; choose"):
            ran("dashboard", "--storage", str(tmp_path), "--port", str(port))
