"""The queue and the quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from mimlab.actions import audit
from mimlab.serve.errors import ApiError, documented
from mimlab.serve.identity.callers import Caller
from mimlab.serve.queue.order import in_use, places
from mimlab.serve.queue.records import FINAL, EntryState, Need, QueueEntry, Quotas, Share
from mimlab.serve.routes.given import Body, Done, Given, Reader
from mimlab.serve.services import Services, allowed

router = APIRouter(tags=["queue"], responses=documented())
Number = Annotated[
    int, Path(ge=1, le=999_999_999, description="A number of the queue.", examples=[12])
]


class QueueItem(BaseModel):
    """A submission that waits, runs or ran."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    number: int
    submission: str
    user: str
    state: EntryState
    priority: int
    need: Need
    queued: str
    problem: str
    place: int | None
    """When it is going to start: 1 is next. None of what runs, and of what can never run."""

    @classmethod
    def of(cls, entry: QueueEntry, places: Mapping[int, int]) -> QueueItem:
        own = entry.model_dump(include=set(cls.model_fields))
        return cls(**own, place=places.get(entry.number))


class UserShare(BaseModel):
    """What a user holds, and may hold."""

    user: str
    in_use: Need
    quota: Share


class QueueView(BaseModel):
    """The queue as it stands."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    entries: list[QueueItem]
    """What waits and what runs, oldest first."""
    shares: list[UserShare]
    """Of everybody who has something there."""


class Priority(Body):
    """How urgent something is."""

    priority: int = Field(ge=-1000, le=1000, examples=[10])
    """Higher goes first; 0 at the beginning."""


@router.get("/queue", summary="What waits and what runs")
def get_queue(_: Reader, given: Given) -> QueueView:
    entries = [entry for entry in given.queue.entries() if entry.state not in FINAL]
    quotas = given.queue.quotas()
    shares = [
        UserShare(user=user, in_use=in_use(entries, user), quota=quotas.of(user))
        for user in sorted({entry.user for entry in entries})
    ]
    order = places(entries, quotas)
    return QueueView(entries=[QueueItem.of(entry, order) for entry in entries], shares=shares)


@router.delete("/queue/{number}", summary="Take out what waits", responses=documented(404))
def withdraw(
    number: Number, caller: Annotated[Caller, Depends(allowed("withdraw"))], given: Given
) -> Done:
    entry = _entry(given, number)
    caller.require("withdraw", entry.user)
    given.queue.withdraw(number)
    audit.record(given.store, caller.name, "withdraw", entry.submission, {"number": number})
    said = f"{entry.submission} is out of the queue"
    return Done(done="withdraw", on=entry.submission, said=said)


@router.put("/queue/{number}/priority", summary="Say how urgent it is", responses=documented(404))
def set_priority(
    number: Number,
    asked: Priority,
    caller: Annotated[Caller, Depends(allowed("prioritise"))],
    given: Given,
) -> QueueItem:
    entry = _entry(given, number)
    given.queue.change(number, priority=asked.priority)
    audit.record(given.store, caller.name, "prioritise", entry.submission, asked.model_dump())
    order = places(given.queue.entries(), given.queue.quotas())
    return QueueItem.of(given.queue.entry(number), order)


@router.get("/quotas", summary="What users may hold at once")
def get_quotas(_: Reader, given: Given) -> Quotas:
    return given.queue.quotas()


@router.put("/quotas", summary="Say what users may hold at once")
def set_quotas(
    quotas: Quotas, caller: Annotated[Caller, Depends(allowed("set quotas"))], given: Given
) -> Quotas:
    given.queue.set_quotas(quotas)
    audit.record(given.store, caller.name, "set quotas", "quotas", quotas.model_dump(mode="json"))
    return given.queue.quotas()


def _entry(given: Services, number: int) -> QueueEntry:
    found = [entry for entry in given.queue.entries() if entry.number == number]
    if not found:
        raise ApiError(404, f"the queue has no number {number}")
    return found[0]
