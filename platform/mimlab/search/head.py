"""The head of a Ray cluster that a study joins, by RAY_ADDRESS. Imports no Ray."""

from __future__ import annotations

import os
import re
import socket

from mimlab.errors import UserError

VARIABLE = "RAY_ADDRESS"
"""Ray's own name for it; `ray job submit` and KubeRay set it."""
CONNECT_S = 3.0

_HOST_AND_PORT = re.compile(r"(?P<host>[^\s/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")


def named_head() -> str | None:
    """`host:port` of the head to join; None where a Ray is to be started here.

    Raises UserError for an address of another kind.
    """
    said = os.environ.get(VARIABLE, "")
    if said in ("", "local"):
        return None
    if _HOST_AND_PORT.fullmatch(said) is None:
        raise UserError(
            f"{VARIABLE}: {said!r} is no head's host:port, such as 10.0.0.1:6379; name that, on a "
            "machine that is a node of the cluster, or unset it to start a Ray here"
        )
    return said


def is_up(head: str) -> bool:
    """Whether something listens at `host:port`."""
    found = _HOST_AND_PORT.fullmatch(head)
    assert found is not None
    address = found["host"].strip("[]"), int(found["port"])
    try:
        with socket.create_connection(address, timeout=CONNECT_S):
            return True
    except OSError:
        return False
