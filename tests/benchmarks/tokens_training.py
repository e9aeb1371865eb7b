"""Training from a token store: reading codes with images, and what not computing them saves."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.data_sets import imagenet, shards_of
from benchmarks.input import VIEW
from benchmarks.loader import BATCH as READ_BATCH
from benchmarks.measuring import Row, alternate, medians, rate, ratio, seconds_of
from benchmarks.step import BATCH, NOW, SPEC, batch_of, plan_of
from mimlab.data.manifest import Split
from mimlab.data.read_plan import ReadPlan
from mimlab.data.rendering import ViewSpec
from mimlab.data.sidecar import VIEW_COLUMN
from mimlab.data.stored_views import StoredView
from mimlab.data.stream import BatchStream, StreamOptions
from mimlab.spec.study import TrialSpec, trial_spec
from mimlab.tokens.packing import packed
from mimlab.train.build import build_objective
from mimlab.train.clock import Clock
from mimlab.train.flops import step_flops
from mimlab.train.optimizer import build_optimizer
from mimlab.train.stepper import Stepper

IMAGES, ROUNDS, THREADS, VIEWS = 3200, 5, 2, 2
TOKENS, VOCABULARY = 196, 8192
TEACHER = {"name": "vit_small_patch16_224", "weights": "random"}


def run(folder: Path) -> list[Row]:
    return [_reading(folder), _training()]


def _reading(folder: Path) -> Row:
    split = shards_of(imagenet(folder / "jpegs", IMAGES), folder / "shards")
    view = dataclasses.replace(VIEW, stored=stored_beside(split, folder / "store"))
    contestants = {
        "with codes": partial(stream_rate, split, view),
        "without": partial(stream_rate, split, VIEW),
    }
    rates = alternate(contestants, ROUNDS)
    return Row(
        f"input with codes, {THREADS} loading",
        "without",
        ratio(rates, "with codes", "without"),
        "≥ 0.95",
        medians(rates, "images/s"),
    )


def stored_beside(split: Split, folder: Path) -> StoredView:
    """Codes by chance of every image, as a store has them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for shard, entry in zip(split.shards, split.entry.shards, strict=True):
        columns = {"id": pq.read_table(shard.path, columns=["id"])["id"]}
        for number in range(VIEWS):
            codes = rng.integers(0, VOCABULARY, (entry.rows, TOKENS))
            columns[VIEW_COLUMN.format(number)] = packed(codes, "uint16")
        table, start = pa.table(columns), 0
        with pq.ParquetWriter(
            folder / entry.file, table.schema, compression="none", use_dictionary=False
        ) as writer:
            for rows in entry.row_groups:
                writer.write_table(table.slice(start, rows), row_group_size=rows)
                start += rows
    return StoredView(str(folder), VIEWS, "uint16", (TOKENS,))


def stream_rate(split: Split, view: ViewSpec) -> float:
    stream = BatchStream(
        split,
        ReadPlan(split.rows_per_group, 0, READ_BATCH),
        view,
        start_step=0,
        stop_step=split.num_rows // READ_BATCH,
        options=StreamOptions(threads=THREADS),
    )
    batches = iter(stream)
    next(batches)
    return rate(len(batch.ids) for batch in batches)


def _training() -> Row:
    """The speed-up over computing codes by a teacher, over that which the FLOPs predict."""
    online = {"name": "tokens", "vocabulary": VOCABULARY, "teacher": TEACHER}
    stored = {"name": "tokens", "stored": {"label": "codes", "width": VOCABULARY}}
    steps, flops = {}, {}
    for name, target in (("stored", stored), ("computed", online)):
        spec = _spec(target)
        steps[name], flops[name] = _step(spec)
    rates = alternate({name: partial(_rate, step) for name, step in steps.items()}, ROUNDS)
    predicted = flops["computed"] / flops["stored"]
    return Row(
        f"step of simmim from stored codes, {predicted:.2f} × fewer FLOPs",
        "codes computed in the step, × the FLOPs saved",
        ratio(rates, "stored", "computed") / predicted,
        "≥ 0.9",
        medians(rates, "images/s"),
    )


def _spec(target: dict[str, object]) -> TrialSpec:
    train = {"budget": {"steps": 1}, "batch_size": BATCH}
    return trial_spec(SPEC | {"objective": {"name": "simmim"}, "target": target, "train": train})


def _step(spec: TrialSpec) -> tuple[partial, int]:
    """A step, and its FLOPs."""
    objective, cpu = build_objective(spec).train(), torch.device("cpu")
    optimizer = build_optimizer(objective, spec.train.optimizer)
    stepper = Stepper(objective, optimizer, device=cpu, config=spec.train, seed=0, clock=Clock(cpu))
    codes = torch.randint(VOCABULARY, (BATCH, TOKENS))
    batch = dataclasses.replace(batch_of(), stored=codes)
    plan = plan_of(spec, objective)
    return partial(stepper.step, batch, plan, NOW), step_flops(objective, batch, plan)


def _rate(step: partial) -> float:
    return BATCH / seconds_of(step)
