"""One tab of a submission's page."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mimlab.serve.pages.parts.site import Api
from mimlab.serve.reading.models import SubmissionDetail


class Panel(ABC):
    """Makes its elements at once, and fills them when it is looked at."""

    def __init__(self, api: Api) -> None:
        self.api = api

    @abstractmethod
    async def show(self, detail: SubmissionDetail) -> None:
        """Show the submission as it is now. Raises Refused."""
