"""The file systems that pyarrow knows, by scheme, and their errors in a sentence.

Schemes and options of a URI are those of `pyarrow.fs.FileSystem.from_uri`:
arrow.apache.org/docs/python/filesystems.html. An S3 client is built here instead, because from a
URI it would retry an endpoint that is away for minutes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""What a URI may begin with, `file` aside."""

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 30.0
MAX_ATTEMPTS = 4
"""Of a request; what is still away then is said to be away."""

S3_OPTIONS = ("region", "scheme", "endpoint_override")
GS_RETRY_S = "10"

_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    "abfs": "set AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or run `az login`",
}


class RemoteError(OSError):
    """A file system could not do what was asked; the message says where, what and a remedy."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        """`passing`: the same may succeed a little later."""
        super().__init__(message)
        self.passing = passing


def passes(error: BaseException | None) -> bool:
    """Whether an error comes from a file system where the same may succeed a little later."""
    while error is not None:
        if isinstance(error, RemoteError):
            return error.passing
        error = error.__cause__
    return False


@dataclass(frozen=True)
class S3Address:
    """How the S3 service is reached; None where the SDK decides."""

    region: str | None
    endpoint: str | None
    """`http://host:port` or `https://host:port`."""

    @classmethod
    def of(cls, query: str) -> S3Address:
        """From a URI's options, and the environment where they are silent. Raises ValueError."""
        options = dict(parse_qsl(query, strict_parsing=True)) if query else {}
        if unknown := [name for name in options if name not in S3_OPTIONS]:
            raise ValueError(f"unknown option {unknown[0]!r}; there are {', '.join(S3_OPTIONS)}")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return cls(options.get("region") or region or None, _endpoint(options))


def _endpoint(options: dict[str, str]) -> str | None:
    said = options.get("endpoint_override")
    known = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = said or known
    if not endpoint:
        return None
    if "://" not in endpoint:
        endpoint = f"{options.get('scheme', 'https')}://{endpoint}"
    return endpoint.rstrip("/")


@lru_cache(maxsize=16)
def file_system(scheme: str, authority: str, query: str) -> tuple[pafs.FileSystem, str]:
    """The client for URIs of this kind, and the path in it that their own path is added to.

    Asks the network for nothing but, where nothing else says it, the region of an S3 bucket. Raises
    ValueError for options that do not exist, RemoteError where there can be no client.
    """
    root = f"{scheme}://{authority}"
    with explained(root):
        if scheme == "s3":
            return _s3(authority, query), authority
        if scheme in ("gs", "gcs"):
            query = "&".join(filter(None, (query, f"retry_limit_seconds={GS_RETRY_S}")))
        system, path = pafs.FileSystem.from_uri(f"{root}/" + (f"?{query}" if query else ""))
        return system, path.rstrip("/")


def _s3(bucket: str, query: str) -> pafs.S3FileSystem:
    address = S3Address.of(query)
    region = address.region
    if region is None and address.endpoint is None:
        region = pafs.resolve_s3_region(bucket)
    endpoint = urlsplit(address.endpoint or "https://")
    return pafs.S3FileSystem(
        region=region,
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
    )


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns what pyarrow raises into RemoteError; FileNotFoundError stays."""
    try:
        yield
    except (FileNotFoundError, RemoteError):
        raise
    except (OSError, pa.ArrowException) as error:
        raise remote_error(uri, str(error)) from error


_PASSING = re.compile(
    "NETWORK_CONNECTION|REQUEST_TIMEOUT|UNAVAILABLE|curlCode|resolve host|Could not connect|"
    "SLOW_?DOWN|SlowDown|THROTTL|Throttl|INTERNAL_FAILURE|InternalError|ServiceUnavailable|"
    r"HTTP status (429|5\d\d)|error occurred \((429|5\d\d)\)|"
    "[Tt]ime(d )?-?out|Connection (was )?closed|Connection reset|EndpointConnectionError"
)
"""What clients' errors hold where the service is away, overloaded or restarted."""


def remote_error(uri: str, message: str) -> RemoteError:
    """A client's error as one that says where, what and a remedy."""
    passing = bool(_PASSING.search(message))
    return RemoteError(f"{uri}: {explanation(uri, message)}", passing=passing)


_CAUSES = {
    "NO_SUCH_BUCKET|NoSuchBucket|Bucket '.*' not found|FilesystemNotFound|ContainerNotFound": (
        "there is no such bucket; make it, or correct its name"
    ),
    "INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|INVALID_SIGNATURE|"
    "InvalidAccessKeyId|SignatureDoesNotMatch|InvalidClientTokenId|ExpiredToken": (
        "the credentials are wrong or have expired; {credentials}"
    ),
    "ACCESS_DENIED|AccessDenied|HTTP status 403|Forbidden|Permission_?Denied|PERMISSION_DENIED|"
    "UNAUTHENTICATED|OAuth2|[cC]redential|AuthenticationFailed": (
        "access is denied: there are no credentials, or they do not permit it; {credentials}, or "
        "ask for the permission"
    ),
    "NETWORK_CONNECTION|REQUEST_TIMEOUT|UNAVAILABLE|curlCode|resolve host|Could not connect": (
        "cannot be reached; check the address, AWS_ENDPOINT_URL and the network"
    ),
}
"""What clients' errors hold, and what that means; the first one that fits counts."""


def explanation(uri: str, message: str) -> str:
    """What a client's error means and what would help, in a sentence."""
    kind = uri.split("://")[0].replace("gcs", "gs").replace("abfss", "abfs")
    credentials = _CREDENTIALS.get(kind, "check who you are logged in as")
    for signs, meaning in _CAUSES.items():
        if re.search(signs, message):
            return meaning.format(credentials=credentials)
    return (message.splitlines() or ["unknown error"])[0][:300]
