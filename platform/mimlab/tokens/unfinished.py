"""A store that is being made: what was done stays where it is, for a later try of the same.

<out>/encoding/plan.json        what is being encoded; another plan may not use what lies here
<out>/encoding/claim.json       which process does it
<out>/encoding/<piece>.json     a piece is done; its file is a shard, or <piece>.parquet beside it

All of it goes when the manifest, the last file of the store, is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mimlab.data.publishing import write_whole
from mimlab.data.sidecar import SIDECAR
from mimlab.errors import UserError
from mimlab.storage.filesystems import RemoteError
from mimlab.storage.remote_path import Place
from mimlab.tokens.folders import names_in, remove, working_in
from mimlab.tokens.plan import EncodingPlan, Piece
from mimlab.tokens.worker import PieceRecord, record_place

WORK = "encoding"
PLAN = "plan.json"


@dataclass(frozen=True)
class Unfinished:
    """A store on its way."""

    plan: EncodingPlan
    out: Place
    work: Place
    pieces: tuple[Piece, ...]

    def done(self) -> dict[str, PieceRecord]:
        """The records of the pieces that are done, by name."""
        names, found = names_in(self.work), {}
        for piece in self.pieces:
            place = record_place(self.work, piece)
            if place.name not in names or not piece.target(self.out, self.work).is_file():
                continue
            if record := _record(place):
                found[piece.name] = record
        return found

    def clear(self) -> None:
        """Remove the work of a store that is finished."""
        remove(self.work)


@contextmanager
def unfinished(out: Place, plan: EncodingPlan, pieces: Iterable[Piece]) -> Iterator[Unfinished]:
    """The work on a store, claimed by this process; what an earlier try has done is in it.

    Raises UserError where `out` holds something else, another plan's work, or is being filled.
    """
    work = out / WORK
    try:
        _refuse_others(out, work, plan)
        with working_in(work, called=out, work="encoding into it", instead="choose another folder"):
            write_whole(work / PLAN, plan.model_dump_json(indent=1).encode())
            yield Unfinished(plan, out, work, tuple(pieces))
    except RemoteError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error}); run the same again to go on") from error


def _record(place: Place) -> PieceRecord | None:
    """None where it is damaged, as by a full disk: the piece is done again."""
    try:
        return PieceRecord.model_validate_json(place.read_bytes())
    except ValidationError:
        return None


def _refuse_others(out: Place, work: Place, plan: EncodingPlan) -> None:
    if isinstance(out, Path) and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; name another folder")
    names = names_in(out)
    inside = names_in(work)
    if SIDECAR in names or (names and PLAN not in inside and names != {WORK}):
        raise UserError(f"{out}: exists already; choose another folder or remove it first")
    if PLAN in inside:
        _refuse_other_plan(out, (work / PLAN).read_bytes(), plan)


def _refuse_other_plan(out: Place, content: bytes, plan: EncodingPlan) -> None:
    try:
        begun = EncodingPlan.model_validate_json(content)
    except ValidationError as error:
        raise UserError(
            f"{out}: holds the beginning of another mimlab's store; remove it, or choose another"
        ) from error
    if difference := first_difference(begun, plan):
        raise UserError(
            f"{out}: holds the beginning of another store: {difference}; ask for the same again, "
            "or choose another folder"
        )


def first_difference(begun: EncodingPlan, plan: EncodingPlan) -> str:
    """`views.seed was 0, now 1`; empty where two plans are the same."""
    there, here = (dict(_flat(p.model_dump())) for p in (begun, plan))
    for name in here:
        if there.get(name) != here[name]:
            return f"{name} was {there.get(name)}, now {here[name]}"
    return ""


def _flat(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
