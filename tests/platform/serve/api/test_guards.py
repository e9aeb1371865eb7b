"""What keeps others out: logins, cookies, other sites, other names, too much, other paths."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.serve.identity.callers import CSRF_HEADER
from mimlab.serve.identity.sessions import COOKIE
from mimlab.serve.identity.tokens import new_token
from mimlab.serve.security.rates import MAX_FAILURES, MAX_OF_ADDRESS


def test_without_users_whoever_sits_here_is_an_operator(site: Callable) -> None:
    found = site().client()("GET", "/session").json()
    assert (found["role"], found["local"]) == ("operator", True)


def test_with_users_everybody_needs_a_token(site: Callable) -> None:
    dashboard = site()
    ada = dashboard.user("ada", "viewer")
    answer = dashboard.client()("GET", "/submissions")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "mimlab user add" in answer.json()["error"]["message"]
    assert ada("GET", "/submissions").status_code == 200


def test_a_dashboard_without_users_does_not_serve_a_proxy(site: Callable) -> None:
    client = site().client(**{"X-Forwarded-For": "203.0.113.7"})
    answer = client("GET", "/submissions")
    assert answer.status_code == 403
    assert "proxy" in answer.json()["error"]["message"]


def test_it_is_not_opened_to_others_before_there_are_users(site: Callable) -> None:
    dashboard = site()
    with pytest.raises(UserError, match="mimlab user add") as caught:
        site(host="0.0.0.0")
    assert "--certfile" in str(caught.value)
    dashboard.services.users.add("ada", "operator")
    assert site(host="0.0.0.0").client()("GET", "/session").status_code == 401


@pytest.mark.parametrize(
    "token", ["", "x", "mimlab_ada_", "mimlab_ada_" + "A" * 43, "mimlab_../../x_" + "A" * 43, "é"]
)
def test_forged_tokens_are_nobody_s(site: Callable, token: str) -> None:
    dashboard = site()
    dashboard.user("ada", "operator")
    header = {"Authorization": f"Bearer {token}".encode()}
    assert dashboard.client()("GET", "/session", headers=header).status_code == 401


def test_a_browser_logs_in_by_token_and_out(site: Callable) -> None:
    dashboard = site()
    token = dashboard.services.users.add("ada", "operator")
    browser = dashboard.client()
    answer = browser("POST", "/session", json={"token": token})
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age=43200" in cookie
    csrf = answer.json()["csrf_token"]
    assert browser("GET", "/session").json()["csrf_token"] == csrf
    assert browser("DELETE", "/session").status_code == 403
    out = browser("DELETE", "/session", headers={CSRF_HEADER: csrf})
    assert out.status_code == 204
    assert f'{COOKIE}=""' in out.headers["set-cookie"]


def test_what_a_browser_changes_takes_the_session_s_csrf_token(site: Callable) -> None:
    dashboard = site()
    logins = []
    for name in ("ada", "bob"):
        browser = dashboard.client()
        token = dashboard.services.users.add(name, "operator")
        logins.append((browser, browser("POST", "/session", json={"token": token}).json()))
    (ada, own), (_, other) = logins
    for header in ({}, {CSRF_HEADER: ""}, {CSRF_HEADER: "x"}, {CSRF_HEADER: other["csrf_token"]}):
        answer = ada("PUT", "/quotas", json={}, headers=header)
        assert answer.status_code == 403
        assert CSRF_HEADER in answer.json()["error"]["message"]
    good = {CSRF_HEADER: own["csrf_token"]}
    assert ada("PUT", "/quotas", json={}, headers=good).status_code == 200


def test_altered_and_foreign_cookies_are_nobody_s(site: Callable) -> None:
    dashboard = site()
    token = dashboard.services.users.add("ada", "viewer")
    dashboard.services.users.add("root", "operator")
    browser = dashboard.client()
    browser("POST", "/session", json={"token": token})
    payload, signature = browser.cookies[COOKIE].split(".")
    content = json.loads(base64.urlsafe_b64decode(payload)) | {"user": "root"}
    altered = base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    for cookie in (f"{altered}.{signature}", payload, "", f"{payload}.", "a.b.c", signature):
        browser.cookies[COOKIE] = cookie
        assert browser("GET", "/session").status_code == 401


def test_guessing_has_to_wait_and_says_how_long(site: Callable) -> None:
    dashboard = site()
    dashboard.user("ada", "operator")
    guesser = dashboard.client()
    codes = [
        guesser("POST", "/session", json={"token": new_token("ada")}).status_code
        for _ in range(MAX_FAILURES + 1)
    ]
    assert codes == [401] * MAX_FAILURES + [429]
    answer = dashboard.client(new_token("ada"))("GET", "/session")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_whoever_guesses_a_name_s_token_locks_nobody_else_out(site: Callable) -> None:
    dashboard = site()
    ada, bob = (dashboard.services.users.add(name, "submitter") for name in ("ada", "bob"))
    guesser = dashboard.client(new_token("ada"), at="203.0.113.9")
    codes = [guesser("GET", "/session").status_code for _ in range(MAX_FAILURES + 1)]
    assert codes[-1] == 429
    assert dashboard.client(ada, at="198.51.100.7")("GET", "/session").status_code == 200
    # A colleague behind the same proxy has the same address.
    assert dashboard.client(bob, at="203.0.113.9")("GET", "/session").status_code == 200


def test_an_address_that_guesses_at_many_names_has_to_wait(site: Callable) -> None:
    dashboard = site()
    known = dashboard.services.users.add("ada", "submitter")
    for number in range(MAX_OF_ADDRESS):
        guess = new_token(f"user{number}")
        assert dashboard.client(guess, at="203.0.113.9")("GET", "/session").status_code == 401
    assert dashboard.client(known, at="203.0.113.9")("GET", "/session").status_code == 429
    assert dashboard.client(known)("GET", "/session").status_code == 200


def test_for_users_only_nobody_gets_in_before_there_are_any(site: Callable) -> None:
    dashboard = site(host="0.0.0.0", users_only=True)
    client = dashboard.client()
    assert client("GET", "/submissions").status_code == 401
    assert "mimlab user add" in client("GET", "/session").json()["error"]["message"]
    assert dashboard.user("ada", "viewer")("GET", "/submissions").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_users_that_vanish_with_their_disk_open_nothing(
    site: Callable, tmp_path: Path, host: str
) -> None:
    site().user("ada", "operator")
    client = site(host=host).client()
    (tmp_path / "results" / "users").rename(tmp_path / "unmounted")
    assert client("GET", "/submissions").status_code == 401
    assert client("PUT", "/quotas", json={}).status_code == 401


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("trial=a&trial=a&metric=x", "trial"),
        ("trial=a&metric=x&metric=x", "metric"),
        ("&".join([*(f"trial=t{i}&metric=m{i}" for i in range(11)), "points=10000"]), "points"),
    ],
)
def test_curves_are_asked_for_once_and_not_without_end(
    site: Callable, query: str, field: str
) -> None:
    answer = site().client()("GET", f"/curves?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field


@pytest.mark.parametrize("path", ["/session", "/nothing", "/openapi.json"])
def test_every_answer_tells_browsers_what_it_may_do(site: Callable, path: str) -> None:
    headers = site().client()("GET", path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Cache-Control"] == "private, no-cache"


def test_pages_take_scripts_from_here_alone_and_stand_in_no_frame(site: Callable) -> None:
    answer = site().client()("GET", "/../../somewhere")
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'self'" in policy
    assert "http" not in policy


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "localhost@x"])
def test_other_names_are_not_answered(site: Callable, host: str) -> None:
    answer = site().client()("GET", "/session", headers={"Host": host})
    assert answer.status_code == 400
    assert "--allow-host" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080"])
def test_own_names_are(site: Callable, host: str) -> None:
    assert site().client()("GET", "/session", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_site_changes_nothing_here(site: Callable, header: dict[str, str]) -> None:
    client = site().client()
    assert client("PUT", "/quotas", json={}, headers=header).status_code == 403
    own = {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}
    assert client("PUT", "/quotas", json={}, headers=own).status_code == 200


def test_ten_megabytes_are_refused_before_they_are_looked_at(site: Callable) -> None:
    client = site().client()
    answer = client("POST", "/studies/check", json={"text": "x" * 10_000_000})
    assert answer.status_code == 413
    assert "2,000,000 bytes" in answer.json()["error"]["message"]


def test_so_are_those_that_were_not_announced(site: Callable) -> None:
    async def pieces():
        for _ in range(100):
            yield b"x" * 100_000

    assert site().client()("POST", "/studies/check", content=pieces()).status_code == 413


@pytest.mark.parametrize("text", ["a: &a [*a]", "study: !!python/name:os.system x", "[" * 5000])
def test_a_hostile_study_is_refused_in_words(site: Callable, text: str) -> None:
    answer = site().client()("POST", "/studies/check", json={"text": text})
    assert answer.status_code == 200
    assert not answer.json()["sound"]
    assert answer.json()["problems"]


PATHS = [
    "/submissions/..%2f..%2fetc",
    "/submissions/%2e%2e",
    "/submissions/..",
    "/submissions/.hidden",
    "/submissions/a%00b",
    "/submissions/x/trials/..%2f..%2fusers%2fada.json",
    "/trials/..%2fusers/boards/1",
    "/trials/x/boards/..%2f..%2ftrial.json",
    "/trials/x/boards/-1",
    "/curves?trial=../../users/ada&metric=x",
    "/curves?trial=..&metric=x",
    "/studies/plans/..%2f..",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(site: Callable, path: str) -> None:
    answer = site().client()("GET", path)
    assert answer.status_code in (404, 422, 307), answer.text
    assert "root:" not in answer.text


def test_what_has_not_changed_costs_nothing(site: Callable) -> None:
    client = site().client()
    first = client("GET", "/quotas")
    tag = {"If-None-Match": f'"other", {first.headers["ETag"]}'}
    again = client("GET", "/quotas", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    client("PUT", "/quotas", json={"default": {"gpus": 1.0}})
    assert client("GET", "/quotas", headers=tag).json()["default"]["gpus"] == 1.0


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/curves?trial=a", None, "metric"),
        ("POST", "/studies/check", {"text": 3}, "text"),
        ("POST", "/studies/check", {"txt": "a", "text": "a"}, "txt"),
        ("PUT", "/quotas", {"default": {"gpus": -1}}, "default.gpus"),
        ("POST", "/studies/check", {"text": "a", "\ud800": 1}, None),
        ("GET", "/nothing", None, None),
        ("PATCH", "/quotas", None, None),
    ],
)
def test_every_refusal_has_the_one_shape(
    site: Callable, method: str, path: str, body: dict | None, field: str | None
) -> None:
    # Escaped: a lone surrogate can be said in JSON, and not be encoded.
    sent = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    answer = site().client()(method, path, content=sent, headers=headers)
    assert answer.status_code >= 400
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["field"] == field
    assert answer.json()["error"]["message"]


def test_pages_send_whoever_has_not_logged_in_to_the_login(site: Callable, tmp_path: Path) -> None:
    dashboard = site()
    operator = dashboard.user("ada", "viewer")
    stranger = dashboard.client()
    answer = stranger("GET", "/../../submissions/x")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert operator("GET", "/../../submissions/x").status_code == 404
