"""What the API has refused, in its own words."""

from __future__ import annotations

import httpx


class Refused(Exception):
    """A request that the API did not do; says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @classmethod
    def of(cls, response: httpx.Response) -> Refused:
        """From an answer with a status from 400 on."""
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = f"the dashboard failed ({response.status_code}); its log says why"
        return cls(response.status_code, message)
