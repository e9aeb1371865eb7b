"""A real S3 server, what stands between it and a client, and buckets in it."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow.fs as pafs
from listening import await_port

from one_machine.ports import free_port


@contextlib.contextmanager
def s3_serving() -> Iterator[str]:
    """`host:port` of an S3 server, a process of its own."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await_port(port, 60)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) \S+ HTTP/")


class Proxy:
    """Stands between a client and a server; while `away`, it answers as an overloaded service."""

    ANSWER = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"

    def __init__(self, server: str) -> None:
        host, port = server.split(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.away = False
        self.refused = 0
        self.asked: list[bytes] = []
        """The first line of every request."""
        self.answers_lost = 0
        """So many of the next are: the server does as asked, and the client hears nothing."""
        self.lost_to = b""
        """They are answers to requests that hold this."""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._server) as server:
            asked = b""
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for end in ready:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    if end is client and _REQUEST.match(data):
                        self.asked.append(data.splitlines()[0])
                    if end is client and self.away:
                        self._refuse(client)
                        return
                    if end is client:
                        asked += data
                    elif b" 100 " not in data[:16]:
                        if self.answers_lost and self.lost_to in asked:
                            self.answers_lost -= 1
                            return
                        asked = b""
                    (server if end is client else client).sendall(data)

    def _refuse(self, client: socket.socket) -> None:
        self.refused += 1
        head = f"HTTP/1.1 503 Slow Down\r\nContent-Length: {len(self.ANSWER)}\r\n"
        client.sendall(f"{head}Connection: close\r\n\r\n".encode() + self.ANSWER)


class Bucket(NamedTuple):
    """A bucket of one's own."""

    name: str
    server: str

    def uri(self, path: str) -> str:
        """A place in it, the server's address included."""
        return f"s3://{self.name}/{path}?endpoint_override={self.server}&scheme=http"

    @classmethod
    def made(cls, server: str) -> Bucket:
        """An empty one."""
        system = pafs.S3FileSystem(
            endpoint_override=server, scheme="http", allow_bucket_creation=True
        )
        name = f"team-{uuid.uuid4().hex[:12]}"
        system.create_dir(name)
        return cls(name, server)
