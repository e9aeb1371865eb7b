"""A pass over images by a pool of actors, which does only what no earlier try has done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch

from mimlab.data.manifest import DataSet
from mimlab.data.ray_data import actor_results
from mimlab.errors import UserError
from mimlab.storage.remote_path import Place
from mimlab.tokens.folders import names_in
from mimlab.tokens.gathering import Job, PieceActor, Stage
from mimlab.tokens.pieces import SplitPiece
from mimlab.tokens.sample import PatchSample
from mimlab_objectives.tokenizers.base import PatchEncoder


@dataclass(frozen=True)
class PassProgress:
    """How far a pass is."""

    stage: Stage
    done: int
    """Images."""
    total: int
    before: int
    """Images that an earlier try had done."""


Progress = Callable[[PassProgress], None]


@dataclass(frozen=True)
class PassResources:
    """What is taken of the cluster; changes no result but for rounding."""

    workers: int | None = None
    """Actors; None: one for each GPU, or one where there is none; 0: this process, without Ray."""
    cpus: int | None = None
    """Of each, for decoding and, without a GPU, for the tokenizer; None: its share of all."""
    batch: int | None = None
    """Images at once; None: as many as usually serve."""


@dataclass(frozen=True)
class Passes:
    """Passes over one data set whose files go into one working folder."""

    data: DataSet
    sample: PatchSample
    work: Place
    resources: PassResources
    on_progress: Progress | None

    def run(
        self, actor: type[PieceActor], encoder: PatchEncoder, pieces: Sequence[SplitPiece]
    ) -> int:
        """Have the files of all pieces written; how many images were there already.

        Raises UserError.
        """
        there = names_in(self.work)
        missing = [piece for piece in pieces if actor.file(self.work, piece).name not in there]
        total = sum(piece.rows for piece in pieces)
        before = total - sum(piece.rows for piece in missing)
        start = PassProgress(actor.stage, before, total, before)
        self._report(start)
        if missing:
            self._run(actor, encoder, missing, start)
        return before

    def _run(
        self,
        actor: type[PieceActor],
        encoder: PatchEncoder,
        missing: Sequence[SplitPiece],
        start: PassProgress,
    ) -> None:
        items = [{"piece": piece.model_dump_json()} for piece in missing]
        done = start.done
        with self._results(actor, encoder, items) as results:
            for result in results:
                if result["failure"]:
                    raise UserError(f"the fit stopped: {result['failure']}")
                done += result["images"]
                self._report(replace(start, done=done))

    @contextmanager
    def _results(
        self, actor: type[PieceActor], encoder: PatchEncoder, items: list[dict[str, Any]]
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Those of all items as they come."""
        asked = self.resources
        if asked.workers == 0:
            yield map(actor(self._job(asked.cpus or torch.get_num_threads()), encoder), items)
            return
        cluster = ray.cluster_resources()
        gpus = int(cluster.get("GPU", 0))
        workers = min(asked.workers or max(1, gpus), len(items))
        cpus = asked.cpus or max(1, int(cluster.get("CPU", 1) / workers))
        arguments = (self._job(cpus), ray.put(encoder))
        with actor_results(
            actor, arguments, items, workers=workers, cpus=cpus, gpus=1 if gpus else 0
        ) as results:
            yield results

    def _job(self, threads: int) -> Job:
        root = self.data.root
        return Job(
            images=str(root.resolve() if isinstance(root, Path) else root),
            work=str(self.work),
            sample=self.sample,
            threads=threads,
            batch=self.resources.batch,
        )

    def _report(self, now: PassProgress) -> None:
        if self.on_progress is not None:
            self.on_progress(now)
