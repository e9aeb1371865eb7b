"""The table of what was injected and what came of it."""

from __future__ import annotations

import os
import statistics
from collections import Counter

from chaos.faults import FAULTS
from chaos.record import Record


def page(record: Record, *, seed: int, steps: int, checkpoint_every: int) -> str:
    """A line for each fault: how often, what it cost, and whether everything held.

    `steps`: of a study, which saves a checkpoint every `checkpoint_every` of them.
    """
    lines = [
        f"# {len(record.injections)} faults, {len(record.rounds)} submissions",
        "",
        f"{_dates(record)}, seed {seed}, {os.cpu_count()} cores, {_commits(record)}. Seconds and "
        "steps are medians. Made by `make chaos`; what the faults are and what must hold after "
        "each says [faults.md](faults.md#the-proof). Where training goes on through a fault, the "
        "seconds are those until its next sign, which comes every 2 s.",
        "",
        "| fault | injected | recovered | to the first step, s | until as far again, s "
        "| steps done twice | invariants held |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in FAULTS:
        found = [(i, not r.broken) for r in record.rounds for i in r.injections if i.fault == name]
        if not found:
            continue
        of_fault = [injection for injection, _ in found]
        cells = [
            f"`{name}`",
            f"{len(found)}",
            f"{sum(injection.recovered for injection in of_fault)}",
            f"{statistics.median(injection.to_first_step_s for injection in of_fault):.1f}",
            f"{statistics.median(injection.lost_s for injection in of_fault):.1f}",
            f"{statistics.median(injection.lost_steps for injection in of_fault):.0f}",
            f"{sum(held for _, held in found)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    entries = record.entries
    quiet_s = statistics.mean(entry.quiet_s for entry in entries)
    trained_s = statistics.mean(entry.quiet_trained_s for entry in entries)
    elapsed = sum(found.seconds for found in record.rounds)
    lines += [
        "",
        f"Undisturbed, a study takes {quiet_s:.0f} s, of which it trains {trained_s:.0f} s "
        f"({1e3 * trained_s / steps:.0f} ms a step, a checkpoint every {checkpoint_every} steps). "
        f"Disturbed every {elapsed / max(len(record.injections), 1):.0f} s, one takes "
        f"{elapsed / len(entries):,.0f} s: a goodput of {len(entries) * trained_s / elapsed:.2f}, "
        f"where it is {trained_s / quiet_s:.2f} without faults.",
    ]
    lines += [f"- {found.folder.name}: {what}" for found in record.rounds for what in found.broken]
    return "\n".join(lines) + "\n"


def _dates(record: Record) -> str:
    dates = sorted({entry.date for entry in record.entries})
    return dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"


def _commits(record: Record) -> str:
    """`commit 1a2b3c4`, or what was injected at each."""
    counts = Counter[str]()
    for entry in record.entries:
        counts[entry.commit] += len(entry.round.injections)
    if len(counts) == 1:
        return f"commit {next(iter(counts))}"
    return ", ".join(f"{count} at commit {commit}" for commit, count in counts.items())
