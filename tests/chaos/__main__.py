"""`make chaos`: a study under a seeded schedule of faults, on a real Ray cluster."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from chaos.faults import FAULTS
from chaos.nodes import Nodes
from chaos.page import page
from chaos.record import Record, Schedule, entry_of
from chaos.rounds import Place, disturbed, undisturbed
from chaos.tracking import TrackingServer

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
    parser.add_argument("--record", type=Path, help="where rounds are kept, to go on after them")
    asked = parser.parse_args()
    names = [name for name in asked.faults.split(",") if name]
    if unknown := set(names) - FAULTS.keys():
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, _disk(Path(name) / "runs") as small:
        if not small and "fill_disk" in names:
            print("left out: fill_disk, which needs a disk of its own (mount is not permitted)")
            names.remove("fill_disk")
        schedule = Schedule(asked.seed, names, asked.steps, asked.a_study, asked.apart)
        try:
            record = Record(asked.record, schedule, asked.injections)
        except ValueError as error:
            parser.error(str(error))
        print(run(Path(name), record, schedule, asked))
    done = record.injections
    whole = len(done) >= asked.injections and all(injection.recovered for injection in done)
    sys.exit(any(found.broken for found in record.rounds) or not whole)


def run(folder: Path, record: Record, schedule: Schedule, asked: argparse.Namespace) -> str:
    """All rounds that the record lacks; the page of all."""
    nodes, tracking = Nodes(folder, count=2, cpus=3), TrackingServer(folder)
    place = Place(folder / "runs", nodes, tracking, schedule.steps, schedule.apart_s)
    began, shown = time.monotonic(), ""
    try:
        nodes.start()
        tracking.start()
        quiet, quiet_s = undisturbed(place)
        print(f"undisturbed: {quiet_s:.0f} s", flush=True)
        saved = quiet.checkpoints()
        every = saved[1] - saved[0] if len(saved) > 2 else 0
        drawn = islice(draw(schedule.faults, schedule.seed), record.drawn, None)
        while (missing := asked.injections - len(record.injections)) > 0:
            if time.monotonic() - began > 60 * asked.minutes:
                break
            number, chosen = len(record.rounds), list(islice(drawn, min(asked.a_study, missing)))
            nodes.start()
            found = disturbed(place, number, chosen, quiet, schedule.seed)
            for injection in found.injections:
                print(f"{number:3d} {injection}", flush=True)
            print(f"{number:3d} {found.seconds:.0f} s, {found.broken or 'all holds'}", flush=True)
            if not found.injections:
                break
            record.add(
                entry_of(found, len(chosen), quiet_s=quiet_s, quiet_trained_s=quiet.trained_s)
            )
            if not found.broken:
                shutil.rmtree(found.folder)
            shown = page(record, seed=schedule.seed, steps=schedule.steps, checkpoint_every=every)
            if asked.page:
                asked.page.write_text(shown)
    finally:
        nodes.stop()
        tracking.kill()
    return shown


def draw(names: Sequence[str], seed: int) -> Iterator[str]:
    """Each fault as often as the others, shuffled, without end."""
    dice = random.Random(seed)
    while True:
        yield from dice.sample(list(names), len(names))


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


if __name__ == "__main__":
    main()
