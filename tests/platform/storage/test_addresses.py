"""Addresses as their user writes them, and what is said where one does not work."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.data.claiming import claimed
from mimlab.data.manifest import DataSet
from mimlab.errors import UserError
from mimlab.storage.bucket_files import check_writable
from mimlab.storage.filesystems import RemoteError, explanation
from mimlab.storage.remote_path import RemotePath, place_of

NAMES = st.text(
    st.characters(blacklist_characters="/", blacklist_categories=("Cs", "Cc")), min_size=1
)


@given(folders=st.lists(NAMES.filter(lambda name: name not in (".", "..")), max_size=4))
def test_an_address_means_the_same_when_it_is_read_again(folders: list[str]) -> None:
    place = RemotePath.parse("s3://team/runs?region=eu-west-1")
    for name in folders:
        place = place / name
    assert RemotePath.parse(str(place)) == place
    assert place.name == (["runs", *folders])[-1]


@pytest.mark.parametrize("text", ["/data/x", "x", "./a:b", "file:///data/x", "file://localhost/x"])
def test_a_path_is_a_path(text: str) -> None:
    assert isinstance(place_of(text), Path)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("ftp://team/x", "no file system is called ftp://"),
        ("s3:///x", "malformed; expected s3://BUCKET/FOLDER"),
        ("s3:team", "malformed; expected s3://BUCKET/FOLDER"),
        ("s3://team/x#y", "malformed"),
        ("s3://key:secret@team/x", "give credentials by the environment"),
        ("s3://team/x?scheme", "bad query field"),
        ("file://elsewhere/x", "a folder of this machine is file:///FOLDER"),
    ],
)
def test_a_malformed_address_is_refused_without_its_password(uri: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        place_of(uri)
    assert told in str(caught.value) and "secret" not in str(caught.value)


def both(uri: str) -> list[str]:
    """What is said to who reads a data set there, and to who wants results there."""
    place = place_of(uri)
    assert isinstance(place, RemotePath)
    said = []
    for ask in (lambda: DataSet.open(uri), lambda: check_writable(place)):
        with pytest.raises(UserError) as caught:
            ask()
        said.append(str(caught.value))
        assert "\n" not in said[-1] and uri.split("?")[0] in said[-1]
    return said


def test_a_missing_bucket_is_said_to_be_missing(s3_server: str) -> None:
    uri = f"s3://nobody-has-this/x?endpoint_override={s3_server}&scheme=http"
    assert all("there is no such bucket; make it, or correct its name" in s for s in both(uri))


def test_a_server_that_is_away_is_told_in_seconds() -> None:
    started = time.monotonic()
    said = both("s3://team/x?endpoint_override=127.0.0.1:9&scheme=http")
    assert all("cannot be reached; check the address" in s for s in said)
    assert time.monotonic() - started < 30


@pytest.fixture
def reader(s3_server: str, bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A place where the credentials in use may read and not write, as its server sees to."""
    iam = boto3.client("iam", endpoint_url=f"http://{s3_server}")
    iam.create_user(UserName=bucket.name)
    allowed = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=bucket.name, PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName=bucket.name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    _authenticate(s3_server, "0")
    yield bucket.uri("x")
    _authenticate(s3_server, "1e9")


def _authenticate(server: str, after: str) -> None:
    """After so many requests the server asks for real credentials."""
    request = urllib.request.Request(
        f"http://{server}/moto-api/reset-auth",
        data=after.encode(),
        headers={"Content-Type": "text/plain"},
    )
    urllib.request.urlopen(request, timeout=10).close()


def test_who_may_only_read_may_not_keep_results(reader: str) -> None:
    place = place_of(reader)
    assert isinstance(place, RemotePath) and place.entries() == []
    with pytest.raises(UserError, match=r"access is denied: .* or ask for the permission") as told:
        check_writable(place)
    assert str(told.value).startswith(f"storage: s3://{place.authority}/x")
    with pytest.raises(UserError, match="access is denied"), claimed(place, "manifest.json"):
        pass


def test_wrong_credentials_are_told(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODYSKEY")
    assert all("credentials" in s and "AWS_PROFILE" in s for s in both(reader))


@pytest.mark.parametrize(
    ("uri", "message", "told"),
    [
        (
            "s3://team/x",
            "When getting information for key 'x' in bucket 'team': AWS Error ACCESS_DENIED during "
            "HeadObject operation: No response body.",
            "there are no credentials, or they do not permit it; set AWS_ACCESS_KEY_ID",
        ),
        (
            "gs://team/x",
            "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of "
            "Could not create a OAuth2 access token to authenticate the request.",
            "there are no credentials, or they do not permit it; set GOOGLE_APPLICATION",
        ),
        (
            "hdfs://head:9000/x",
            "Unable to load libjvm\ndlopen(/usr/lib/jvm/default-java/libjvm.so) failed",
            "Unable to load libjvm",
        ),
    ],
)
def test_what_clients_say_is_put_into_words(uri: str, message: str, told: str) -> None:
    """The messages are those of pyarrow 25 without credentials, and without Java."""
    found = explanation(uri, message)
    assert told in found and "\n" not in found


def test_an_error_in_use_stays_an_os_error() -> None:
    place = place_of("s3://team/x?endpoint_override=127.0.0.1:9&scheme=http")
    assert isinstance(place, RemotePath)
    with pytest.raises(RemoteError) as caught:
        place.read_bytes()
    assert isinstance(caught.value, OSError)
