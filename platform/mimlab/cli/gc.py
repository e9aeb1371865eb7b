"""`mimlab gc`: remove what nobody needs any more."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from mimlab.cli.options import RUNS, Storage

if TYPE_CHECKING:
    from mimlab.retention.holds import Holds
    from mimlab.retention.inventory import Inventory
    from mimlab.storage.folders import SubmissionFolder

_SHOWN = 4
"""Steps that are named before the rest are counted."""


def gc(
    submission: Annotated[
        str | None,
        typer.Argument(
            help="A submission's id, or a study's name for its latest one; by default all there is."
        ),
    ] = None,
    storage: Storage = RUNS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go, what stays, and why.")
    ] = False,
    exports: Annotated[
        bool,
        typer.Option(
            "--exports", help="Also encoders that are neither last nor best nor at a rung."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove older checkpoints, those of pruned trials, and what nobody refers to.

    What a resume, a fork or a probe needs stays, and so does every last or best encoder. What a
    driver that lives is running is left alone.

    Example: mimlab gc --dry-run
    """
    from mimlab.retention.holds import Holds
    from mimlab.retention.inventory import take_inventory
    from mimlab.storage.folders import find_submission, submissions
    from mimlab.storage.store import Store

    store, console = Store(storage), Console()
    chosen = None if submission is None else find_submission(store, submission)
    folders = submissions(store) if chosen is None else [chosen]
    holds = Holds(store, chosen)
    with contextlib.ExitStack() as stack:
        if dry_run:
            _ask_for_drivers(folders, holds)
        else:
            _take(folders, holds, stack)
        inventory = take_inventory(holds, exports=exports)
        _show(console, inventory)
        if dry_run:
            return
        if not inventory.goes and not inventory.orphans:
            _refuse_what_is_too_full(holds)
            return
        if not (yes or _agreed(f"Remove {_size(inventory.num_bytes)}?")):
            raise typer.Exit(1)
        console.print(f"removed {_size(inventory.remove())}", highlight=False)
        if holds.unleased:
            more = "the disk took not every lease: call it again for what else may go"
            console.print(more, highlight=False)


def _agreed(question: str) -> bool:
    try:
        return typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or nobody to ask
        return False


def _ask_for_drivers(folders: list[SubmissionFolder], holds: Holds) -> None:
    """What could be held, without holding it."""
    from mimlab.storage import lease

    for folder in folders:
        found = lease.driver_of(folder)
        if found is None:
            holds.held.add(folder.id)
        else:
            words = f"process {found.pid} on {found.host} runs submission {folder.id}"
            holds.driven[folder.id] = words


def _take(folders: list[SubmissionFolder], holds: Holds, stack: contextlib.ExitStack) -> None:
    """Hold the submissions, so that no driver starts meanwhile."""
    from mimlab.errors import UserError
    from mimlab.storage import holding
    from mimlab.storage.patience import FULL

    for folder in folders:
        try:
            stack.enter_context(holding.held(folder))
        except UserError as error:
            holds.driven[folder.id] = str(error).split(";")[0]
        except OSError as error:
            if error.errno not in FULL:
                raise
            holds.unleased.add(folder.id)
        else:
            holds.held.add(folder.id)


def _refuse_what_is_too_full(holds: Holds) -> None:
    """Raises UserError where a full disk took no lease, and no file may go without one."""
    from mimlab.errors import UserError

    if holds.unleased:
        raise UserError(
            f"{holds.store.root}: the disk is too full for the lease of submission "
            f"{min(holds.unleased)}, and nothing may go without it; free 1 MB of it by removing "
            "any file that you do not need, then call mimlab gc again"
        )


def _show(console: Console, found: Inventory) -> None:
    goes = Table(title=f"goes: {_size(found.num_bytes)}", title_justify="left")
    for name in ("what", "size", "why"):
        goes.add_column(name)
    for what, num_bytes, why in _lines(found):
        goes.add_row(what, _size(num_bytes), why)
    stays = Table(title="stays", title_justify="left")
    for name in ("why", "size"):
        stays.add_column(name)
    sizes: Counter[str] = Counter()
    for why, num_bytes in found.stays:
        sizes[why] += num_bytes
    for why, num_bytes in sorted(sizes.items(), key=lambda pair: -pair[1]):
        stays.add_row(why, _size(num_bytes))
    if goes.row_count:
        console.print(goes)
    else:
        console.print("nothing may go", highlight=False)
    if stays.row_count:
        console.print(stays)


def _lines(found: Inventory) -> list[tuple[str, int, str]]:
    """A line for each trial and reason, then one for each orphan: what, bytes, why."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for verdict in found.goes:
        key = (f"trial {verdict.trial} {verdict.kind}", verdict.why)
        groups.setdefault(key, []).append((verdict.saved.step, verdict.saved.num_bytes))
    lines = [
        (f"{what} {_steps([step for step, _ in saved])}", sum(size for _, size in saved), why)
        for (what, why), saved in groups.items()
    ]
    return [*lines, *((orphan.path, orphan.num_bytes, orphan.why) for orphan in found.orphans)]


def _steps(steps: list[int]) -> str:
    named = ", ".join(map(str, steps[:_SHOWN]))
    more = len(steps) - _SHOWN
    return f"{named} and {more} more" if more > 0 else named


def _size(num_bytes: int) -> str:
    """`1.5 GB`, as disks are sold and `resources.max_disk` is written."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.1f} {unit}"
    return f"{num_bytes} B"
