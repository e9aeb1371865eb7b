"""`make bench`: every benchmark, or those that are named, into a dated table."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import input as input_
from benchmarks import (
    mapet,
    memory,
    objectives,
    planning,
    step,
    tokens,
    tokens_training,
    training,
)
from benchmarks.measuring import Row, machine
from mimlab.search import ray_settings

BENCHMARKS: Mapping[str, Callable[[Path], list[Row]]] = {
    "planning": planning.run,
    "step": step.run,
    "mapet": mapet.run,
    "objectives": objectives.run,
    "input": input_.run,
    "training": training.run,
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
    date, found = datetime.date.today().isoformat(), machine()
    RESULTS.mkdir(exist_ok=True)
    content = {"date": date, "machine": found, "rows": [dataclasses.asdict(row) for row in rows]}
    (RESULTS / f"{date}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    text = markdown(date, found, rows)
    (RESULTS / f"{date}.md").write_text(text)
    print(text)


def markdown(date: str, found: Mapping[str, str], rows: list[Row]) -> str:
    """The table; figures are medians, ratios are medians of each round's ratio."""
    lines = [
        f"# Benchmarks of {date}",
        "",
        ", ".join(f"{key}: {value}" for key, value in found.items()) + ".",
        "",
        "| what | against | ratio | target | medians |",
        "| --- | --- | ---: | --- | --- |",
    ]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        figures = ", ".join(f"{name} {value:,.4g}" for name, value in row.figures.items())
        lines.append(f"| {row.what} | {row.against} | {ratio} | {row.target} | {figures} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
