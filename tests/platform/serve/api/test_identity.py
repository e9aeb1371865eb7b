"""Tokens, sessions, roles: who is let in, and as whom."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.serve.identity.permissions import PERMISSIONS, ROLES, may, needed_role, table
from mimlab.serve.identity.sessions import LASTS_S, Sessions
from mimlab.serve.identity.sign_key import sign_key
from mimlab.serve.identity.tokens import hash_of, new_token, user_of
from mimlab.serve.identity.users import Users
from mimlab.serve.security.rates import FailureLimit
from mimlab.storage.store import Store


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(Store(tmp_path))


def test_a_token_is_its_user_s_and_is_not_kept(users: Users, tmp_path: Path) -> None:
    token = users.add("ada", "submitter")
    assert user_of(token) == "ada"
    found = users.of_token(token)
    assert found is not None and (found.name, found.role) == ("ada", "submitter")
    kept = "".join(path.read_text() for path in (tmp_path / "users").iterdir())
    assert token.rsplit("_", 1)[1] not in kept
    assert hash_of(token) in kept


def test_tokens_hold_256_random_bits() -> None:
    secrets = [new_token("ada").split("_", 2)[2] for _ in range(100)]
    assert len(set(secrets)) == 100
    assert {len(base64.urlsafe_b64decode(secret + "=")) for secret in secrets} == {32}


@given(st.text(max_size=80))
def test_what_is_no_token_is_nobody_s(text: str) -> None:
    assert user_of(text) is None


def test_a_token_of_another_secret_or_name_is_worthless(users: Users) -> None:
    token = users.add("ada", "submitter")
    users.add("bob", "operator")
    assert users.of_token(new_token("ada")) is None
    assert users.of_token(token.replace("ada", "bob")) is None
    assert users.of_token(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
    assert users.of_token("mimlab_../x_" + "A" * 43) is None


def test_a_revoked_user_is_locked_out_until_a_new_token(users: Users) -> None:
    token = users.add("ada", "viewer")
    users.revoke("ada")
    assert users.of_token(token) is None
    again = users.renew("ada")
    assert users.of_token(token) is None
    assert users.of_token(again) is not None


def test_a_storage_with_revoked_users_alone_is_not_open_again(users: Users) -> None:
    assert not users.any()
    users.add("ada", "viewer")
    users.revoke("ada")
    assert users.any()


@pytest.mark.parametrize("name", ["", "../x", "Ada", "a_b", "a/b", ".a", "a" * 33, "a\n"])
def test_names_that_could_be_paths_are_refused(users: Users, name: str) -> None:
    with pytest.raises(UserError, match="small letters"):
        users.add(name, "viewer")


def test_a_name_is_given_once_and_errors_say_who_there_is(users: Users) -> None:
    users.add("ada", "viewer")
    with pytest.raises(UserError, match="already"):
        users.add("ada", "operator")
    with pytest.raises(UserError, match="there are: ada"):
        users.set_role("bob", "viewer")


class Clock:
    now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def sessions(users: Users) -> Sessions:
    users.add("ada", "submitter")
    return Sessions(b"k" * 32, users, Clock())


def cookie_of(sessions: Sessions) -> str:
    ada = sessions.users.get("ada")
    assert ada is not None
    return sessions.begin(ada)


def test_a_session_is_its_user_s_until_it_expires(sessions: Sessions) -> None:
    cookie = cookie_of(sessions)
    found = sessions.read(cookie)
    assert found is not None and found[1].name == "ada"
    assert isinstance(sessions.clock, Clock)
    sessions.clock.now += LASTS_S
    assert sessions.read(cookie) is None


def test_a_session_ends_with_the_token_that_began_it(sessions: Sessions) -> None:
    cookie = cookie_of(sessions)
    sessions.users.renew("ada")
    assert sessions.read(cookie) is None
    cookie = cookie_of(sessions)
    sessions.users.revoke("ada")
    assert sessions.read(cookie) is None


def test_a_role_that_changed_holds_at_once(sessions: Sessions) -> None:
    cookie = cookie_of(sessions)
    sessions.users.set_role("ada", "operator")
    found = sessions.read(cookie)
    assert found is not None and found[1].role == "operator"


@given(st.text(max_size=60))
def test_forged_cookies_are_nobody_s(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    sessions = Sessions(b"k" * 32, Users(Store(tmp_path_factory.getbasetemp())))
    assert sessions.read(text) is None


def test_an_altered_cookie_is_nobody_s(sessions: Sessions) -> None:
    payload, signature = cookie_of(sessions).split(".")
    content = json.loads(base64.urlsafe_b64decode(payload))
    content["expires"] += 1
    altered = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    assert sessions.read(f"{altered}.{signature}") is None
    assert sessions.read(payload) is None
    other = Sessions(b"o" * 32, sessions.users, sessions.clock)
    assert other.read(f"{payload}.{signature}") is None


def test_a_csrf_token_is_no_cookie_s_signature_and_of_one_session(sessions: Sessions) -> None:
    one, other = sessions.read(cookie_of(sessions)), sessions.read(cookie_of(sessions))
    assert one is not None and other is not None
    token = sessions.csrf_token(one[0])
    assert sessions.is_csrf_token(one[0], token)
    assert not sessions.is_csrf_token(other[0], token)
    assert not sessions.is_csrf_token(one[0], "")


def test_the_sign_key_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    key = sign_key(Store(tmp_path))
    assert len(key) == 32
    assert sign_key(Store(tmp_path)) == key
    (file,) = [path for path in tmp_path.iterdir() if path.name.startswith(".dashboard")]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(UserError, match="others may read"):
        sign_key(Store(tmp_path))


def test_each_role_may_what_the_one_before_may() -> None:
    order = {"no": 0, "own": 1, "all": 2}
    for reaches in PERMISSIONS.values():
        values = [order[reaches[role]] for role in ROLES]
        assert values == sorted(values)
        assert values[-1] == 2


def test_a_viewer_changes_nothing() -> None:
    assert {action for action in PERMISSIONS if may("viewer", action, own=True)} == {"read"}
    assert needed_role("read") == "viewer"
    assert needed_role("set quotas") == "operator"


def test_the_page_on_security_has_the_table() -> None:
    page = Path(__file__).parents[4] / "docs" / "security.md"
    assert table() in page.read_text()


def test_many_failures_have_to_wait_and_others_have_not() -> None:
    clock = Clock()
    limit = FailureLimit(limit=3, window_s=60.0, clock=clock)
    for _ in range(3):
        assert limit.wait_s("ada") == 0
        limit.failed("ada")
        clock.now += 10
    assert limit.wait_s("bob", "ada") == pytest.approx(30)
    assert limit.wait_s("bob") == 0
    clock.now += 30
    assert limit.wait_s("ada") == 0


def test_a_flood_of_addresses_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mimlab.serve.security.rates.MAX_KEYS", 100)
    limit = FailureLimit(limit=1)
    for number in range(1000):
        limit.failed(f"address {number}")
    assert limit.wait_s("address 999") > 0
    assert limit.wait_s("address 1") == 0
