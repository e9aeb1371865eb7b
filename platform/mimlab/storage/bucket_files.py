"""A storage root in an S3 bucket: pyarrow reads and writes, boto3 creates exclusively.

pyarrow has no conditional write. Amazon S3 has since 2024: PutObject with `If-None-Match: *`,
docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

from mimlab.errors import UserError
from mimlab.storage.files import Files, FileSize, T
from mimlab.storage.filesystems import (
    CONNECT_TIMEOUT_S,
    MAX_ATTEMPTS,
    REQUEST_TIMEOUT_S,
    RemoteError,
    S3Address,
    remote_error,
)
from mimlab.storage.remote_path import RemotePath

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

EXISTS = ("PreconditionFailed", "ConditionalRequestConflict")
"""S3's words for: an object of this name is there, or is being created at this moment."""


class BucketFiles(Files):
    """`Files` whose every write is one request, whole or not at all."""

    def __init__(self, root: RemotePath) -> None:
        self._root = root

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes | memoryview) -> None:
        (self._root / path).write_bytes(data)

    def write_by(self, path: str, produce: Callable[[BinaryIO], T]) -> T:
        buffer = io.BytesIO()
        produced = produce(buffer)
        self.write(path, buffer.getbuffer())
        return produced

    def create(self, path: str, data: bytes) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        target = self._root / path
        key = target.path.lstrip("/")
        try:
            self._client.put_object(Bucket=target.authority, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in EXISTS:
                # botocore tries again by itself: the answer to the first request may be what is
                # lost, and the object there its own.
                return _was_retried(error) and self._holds(path, data)
            raise remote_error(str(target), str(error)) from error
        except BotoCoreError as error:
            raise remote_error(str(target), str(error)) from error
        return True

    def _holds(self, path: str, data: bytes) -> bool:
        """Raises RemoteError where that cannot be seen yet."""
        try:
            return self.read(path) == data
        except FileNotFoundError as error:  # still being created
            where = str(self._root / path)
            raise RemoteError(f"{where}: not to be seen yet; try again", passing=True) from error

    def append(self, path: str, line: str) -> None:
        """Objects cannot grow: each line is an object of its own in a folder of this name."""
        self.write(f"{path}/{time.time_ns():020d}-{os.getpid()}.json", f"{line}\n".encode())

    def list(self, folder: str) -> list[str]:
        names = [name for name, _ in (self._root / folder).entries()]
        return sorted(name for name in names if not name.startswith("."))

    def sizes(self, folder: str) -> dict[str, FileSize]:
        from botocore.exceptions import BotoCoreError, ClientError

        target = self._root / folder
        prefix = f"{target.path.strip('/')}/".lstrip("/")
        try:
            # pyarrow's listings hold no ETags.
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=target.authority, Prefix=prefix
            )
            return {
                found["Key"][len(prefix) :]: FileSize(
                    found["Size"], found["LastModified"].timestamp(), found["ETag"]
                )
                for page in pages
                for found in page.get("Contents", ())
                if not found["Key"].endswith("/")  # which stands for a folder
            }
        except (BotoCoreError, ClientError) as error:
            raise remote_error(str(target), str(error)) from error

    def exists(self, path: str) -> bool:
        return (self._root / path).exists()

    def remove(self, path: str) -> None:
        (self._root / path).remove()

    @cached_property
    def _client(self) -> Any:  # boto3 makes the class when it is asked for a client
        boto3 = _boto3()
        from botocore.config import Config

        address = S3Address.of(self._root.query)
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=REQUEST_TIMEOUT_S,
            retries={"total_max_attempts": MAX_ATTEMPTS, "mode": "standard"},
            # Other services than Amazon's need not know the newer trailing checksums.
            request_checksum_calculation="when_required",
        )
        return boto3.client(
            "s3", region_name=address.region, endpoint_url=address.endpoint, config=config
        )


def _was_retried(error: ClientError) -> bool:
    metadata: dict[str, Any] = {**error.response.get("ResponseMetadata", {})}
    return metadata.get("RetryAttempts", 0) > 0


def _boto3() -> Any:
    """Raises UserError where it is not installed: it is optional."""
    try:
        import boto3
    except ImportError as error:
        raise UserError(
            "results on s3:// need boto3, which creates files exclusively; "
            "`pip install 'mimlab[s3]'` adds it"
        ) from error
    return boto3


def check_writable(root: RemotePath) -> None:
    """Write an object, see that it cannot be created a second time, and remove it.

    Raises UserError that says what hinders results in `root`.
    """
    files = BucketFiles(root)
    name = f".writable-{os.getpid()}-{time.time_ns()}"
    try:
        files.write(name, b"written")
        exclusive = not files.create(name, b"created")
        files.remove(name)
    except RemoteError as error:
        raise UserError(f"storage: {str(error).replace(str(root / name), str(root))}") from error
    if not exclusive:
        raise UserError(
            f"storage: {root}: this service ignores conditional writes (If-None-Match), so nothing "
            "would keep two drivers from writing at once; use another one, or a folder"
        )
