"""`make bench`: every benchmark, or those that are named, into a dated table."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    checkpointing,
    mapet,
    memory,
    objectives,
    planning,
    serving,
    step,
    tokens,
    tokens_training,
    training,
)
from benchmarks import input as input_
from benchmarks.measuring import Row, machine
from mimlab.search import ray_settings

BENCHMARKS: Mapping[str, Callable[[Path], list[Row]]] = {
    "planning": planning.run,
    "serving": serving.run,
    "step": step.run,
    "mapet": mapet.run,
    "objectives": objectives.run,
    "input": input_.run,
    "training": training.run,
    "checkpointing": checkpointing.run,
    "tokens_training": tokens_training.run,
    "memory": memory.run,
    "tokens": tokens.run,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], help="default: all")
    names = parser.parse_args().names or list(BENCHMARKS)
    for name in ("input", "memory", "tokens", "tokens_training"):
        if "MIMLAB_TEST_DATA" not in os.environ and name in names:
            print(f"skipped: {name}, which reads the images of MIMLAB_TEST_DATA")
            names.remove(name)
    ray_settings.apply()
    rows: list[Row] = []
    for name in names:
        print(f"{name} …", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows += BENCHMARKS[name](Path(folder))
    _write(rows)


def _write(rows: list[Row]) -> None:
    """Add a run to the day's file: those of before stay."""
    date = datetime.date.today().isoformat()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date}.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    runs.append({"machine": machine(), "rows": [dataclasses.asdict(row) for row in rows]})
    path.write_text(json.dumps(runs, indent=1, ensure_ascii=False) + "\n")
    (RESULTS / f"{date}.md").write_text(markdown(date, runs))
    print(table(rows))


def markdown(date: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """A table for each of the day's runs, under the machine and the commit it ran on."""
    lines = [f"# Benchmarks of {date}"]
    for run in runs:
        found = ", ".join(f"{key}: {value}" for key, value in run["machine"].items())
        lines += ["", f"{found}.", "", table([Row(**row) for row in run["rows"]])]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> str:
    """Figures are medians, ratios are medians of each round's ratio."""
    lines = [
        "| what | against | ratio | target | medians |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        figures = ", ".join(f"{name} {value:,.4g}" for name, value in row.figures.items())
        lines.append(f"| {row.what} | {row.against} | {ratio} | {row.target} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
