"""`make chaos`: a study under a seeded schedule of faults, on a real Ray cluster."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from chaos.faults import FAULTS
from chaos.nodes import Nodes
from chaos.rounds import Place, Round, disturbed, undisturbed
from chaos.tracking import TrackingServer
from chaos.watch import Watch

DISK_MIB = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--injections", type=int, default=100, help="faults in all; default: 100")
    parser.add_argument("--seed", type=int, default=0, help="of the schedule; default: 0")
    parser.add_argument("--faults", default=",".join(FAULTS), help="names, by commas; default: all")
    parser.add_argument("--steps", type=int, default=4500, help="of a study; default: 4500")
    parser.add_argument("--a-study", type=int, default=12, help="faults; default: 12")
    parser.add_argument("--apart", type=float, default=0, help="seconds from fault to fault")
    parser.add_argument("--minutes", type=float, default=600, help="no new round after these")
    parser.add_argument("--page", type=Path, help="where the table is written to")
    asked = parser.parse_args()
    names = [name for name in asked.faults.split(",") if name]
    if unknown := set(names) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, _disk(Path(name) / "runs") as small:
        if not small and "fill_disk" in names:
            print("left out: fill_disk, which needs a disk of its own (mount is not permitted)")
            names.remove("fill_disk")
        rounds, page = run(Path(name), asked, names)
    print(page)
    whole = injected(rounds) >= asked.injections and all_recovered(rounds)
    sys.exit(any(found.broken for found in rounds) or not whole)


def run(folder: Path, asked: argparse.Namespace, names: list[str]) -> tuple[list[Round], str]:
    """All rounds, and their page."""
    nodes, tracking = Nodes(folder, count=2, cpus=3), TrackingServer(folder)
    place = Place(folder / "runs", nodes, tracking, asked.steps, asked.apart)
    rounds, began = list[Round](), time.monotonic()
    try:
        nodes.start()
        tracking.start()
        quiet, quiet_s = undisturbed(place)
        print(f"undisturbed: {quiet_s:.0f} s", flush=True)
        drawn = draw(names, asked.seed)
        while (missing := asked.injections - injected(rounds)) > 0:
            if time.monotonic() - began > 60 * asked.minutes:
                break
            number, chosen = len(rounds), list(islice(drawn, min(asked.a_study, missing)))
            nodes.start()
            rounds.append(disturbed(place, number, chosen, quiet, asked.seed))
            for injection in rounds[-1].injections:
                print(f"{number:3d} {injection}", flush=True)
            print(f"{number:3d} {rounds[-1].seconds:.0f} s, {rounds[-1].broken or 'all holds'}")
            if not rounds[-1].broken:
                shutil.rmtree(rounds[-1].folder)
            if asked.page:
                asked.page.write_text(table(rounds, quiet, quiet_s, asked))
            if not rounds[-1].injections:
                break
    finally:
        nodes.stop()
        tracking.kill()
    return rounds, table(rounds, quiet, quiet_s, asked)


def draw(names: Sequence[str], seed: int) -> Iterator[str]:
    """Each fault as often as the others, shuffled, without end."""
    dice = random.Random(seed)
    while True:
        yield from dice.sample(list(names), len(names))


def injected(rounds: Sequence[Round]) -> int:
    return sum(len(found.injections) for found in rounds)


def all_recovered(rounds: Sequence[Round]) -> bool:
    return all(injection.recovered for found in rounds for injection in found.injections)


def table(rounds: Sequence[Round], quiet: Watch, quiet_s: float, asked: argparse.Namespace) -> str:
    """A line for each fault: how often, what it cost, and whether everything held."""
    lines = [
        f"# {injected(rounds)} faults, {len(rounds)} submissions",
        "",
        f"{datetime.date.today().isoformat()}, seed {asked.seed}, {os.cpu_count()} cores, commit "
        f"{_commit()}. Seconds and steps are medians. Made by `make chaos`; what the faults are "
        "and what must hold after each says [faults.md](faults.md#the-proof). Where training goes "
        "on through a fault, the seconds are those until its next sign, which comes every 2 s.",
        "",
        "| fault | injected | recovered | to the first step, s | until as far again, s "
        "| steps done twice | invariants held |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in FAULTS:
        found = [(i, not r.broken) for r in rounds for i in r.injections if i.fault == name]
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
    trained_s, saved = quiet.trained_s, quiet.checkpoints()
    every = saved[1] - saved[0] if len(saved) > 2 else 0
    lines += [
        "",
        f"Undisturbed, a study takes {quiet_s:.0f} s, of which it trains {trained_s:.0f} s "
        f"({1e3 * trained_s / asked.steps:.0f} ms a step, a checkpoint every {every} steps).",
    ]
    if rounds:
        elapsed = sum(found.seconds for found in rounds)
        lines[-1] += (
            f" Disturbed every {elapsed / max(injected(rounds), 1):.0f} s, one takes "
            f"{elapsed / len(rounds):,.0f} s: a goodput of "
            f"{len(rounds) * trained_s / elapsed:.2f}, where it is {trained_s / quiet_s:.2f} "
            "without faults."
        )
    lines += [f"- {found.folder.name}: {what}" for found in rounds for what in found.broken]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[bool]:
    """A small file system at `folder`; False where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
