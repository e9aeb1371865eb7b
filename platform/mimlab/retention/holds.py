"""Which submissions nobody can start while their files are judged and removed."""

from __future__ import annotations

from dataclasses import dataclass, field

from mimlab.storage.folders import SubmissionFolder
from mimlab.storage.store import Store


@dataclass
class Holds:
    """What is held of a storage; whatever else begins meanwhile is left alone."""

    store: Store
    chosen: SubmissionFolder | None = None
    """The only submission whose files are touched; None: all there is."""
    held: set[str] = field(default_factory=set)
    """Ids of submissions that no driver can start."""
    unleased: set[str] = field(default_factory=set)
    """Those that nobody drives, but whose lease a full disk did not take: somebody may begin to."""
    driven: dict[str, str] = field(default_factory=dict)
    """Id → why a submission is not touched."""

    def hindrance(self, submission_id: str) -> str:
        """Why nothing of a submission is touched; empty if its files may be judged."""
        if submission_id in self.held or submission_id in self.unleased:
            return ""
        if self.chosen is None and not self.store.exists(f"submissions/{submission_id}"):
            return ""  # gone: a driver writes the submission before anything else
        return self.driven.get(submission_id, f"submission {submission_id} runs it")

    def is_idle(self, submission_id: str) -> bool:
        """Whether nobody drives a submission, or can begin to."""
        return submission_id not in self.unleased and not self.hindrance(submission_id)
