"""One local Ray for every test of the platform that needs one, and studies written but not run."""

from __future__ import annotations

import gc
import io
import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from s3 import Bucket, Proxy, s3_serving

import mimlab
import mimlab_objectives

if TYPE_CHECKING:
    from mimlab.data.manifest import DataSet, SplitEntry
    from mimlab.probe.task import ProbeOrder
    from mimlab.storage import lease
    from mimlab.storage.folders import SubmissionFolder, TrialFolder
    from mimlab.storage.records import TrialState
    from mimlab.train.checkpoint import TrainingState
    from mimlab.train.export import EncoderCard
    from mimlab.train.worker_config import WorkerConfig

NAMED_SHARD_ROWS = 12

TINY = """
study: tiny
data:
  images: digits
  image_size: 16
  augment: {crop_scale: [0.6, 1.0], flip: 0.0}
backbone:
  {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 2, num_heads: 2, drop_path: 0.2}
objective: {name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels}
masking: {name: random, ratio: 0.75}
train:
  budget: {steps: 24}
  batch_size: 100
  optimizer: {base_lr: 3.0e-3}
  warmup_epochs: 0.3
  log_every: 5
  checkpoint: {every_epochs: 0.5, keep_last: 2}
probes:
  - {name: knn, every_epochs: 0.6}
storage: results
"""

AXES = "sweep={axes: {masking.ratio: [0.5, 0.75]}}"

_ROOTS = [str(Path(package.__path__[0]).parent) for package in (mimlab, mimlab_objectives)]

# Before Ray is imported, which reads some of these once. Where something has imported it already,
# Ray's own default, a token too, must stay: half the processes would not know of ours.
if "ray" not in sys.modules:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DATA_USE_DATASOURCE_V2", "0")
# Ray's processes have them from the start; which server they are for, a URI says.
os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """Ray with 4 logical CPUs, whose workers import the code that is tested here."""
    import ray

    path = os.pathsep.join([*_ROOTS, os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield
    _end_readers()
    ray.shutdown()


def _end_readers() -> None:
    """Ray Data's threads end with their iterators, which exceptions may still hold; a thread that
    asks Ray for a block after its shutdown takes the process with it."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith(("Prefetcher", "iter_threaded", "feed-")):
            thread.join(2.0)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """`host:port` of an S3 server, a process of its own."""
    with s3_serving() as address:
        yield address


@pytest.fixture
def proxy(s3_server: str) -> Iterator[Proxy]:
    """Before the S3 server; a test may take it away."""
    between = Proxy(s3_server)
    yield between
    between.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a real, small file system of so many bytes."""
    mounted: list[Path] = []

    def mount(num_bytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a file system cannot be mounted here: that takes the rights of root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def bucket(s3_server: str) -> Bucket:
    """An empty bucket of a real S3 server."""
    return Bucket.made(s3_server)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real images, where the machine has them."""
    folder = os.environ.get("MIMLAB_TEST_DATA")
    if not folder:
        pytest.skip("MIMLAB_TEST_DATA is not set: no real images here")
    return Path(folder).resolve()


class Created(NamedTuple):
    """A submission that was written but not run, and the first of its trials."""

    submission: SubmissionFolder
    trial: TrialFolder
    data: DataSet

    @property
    def spec(self) -> dict[str, Any]:
        """The trial's configuration in JSON form."""
        return self.submission.trial_records()[0].resolved

    def worker(self, fence: int, cpus: float = 1.0) -> WorkerConfig:
        """What a worker of the trial is told."""
        from mimlab.train.worker_config import WorkerConfig

        return WorkerConfig(
            storage=str(self.trial.store.root),
            submission_id=self.submission.id,
            trial_id=self.trial.id,
            spec=self.spec,
            data=str(self.data.root),
            fence=fence,
            attempt=1,
            code_fingerprint="code",
            cpus=cpus,
        )

    def order(self, threads: int = 1) -> ProbeOrder:
        """What a probe of the trial is told."""
        from mimlab.probe.task import ProbeOrder

        return ProbeOrder(
            storage=str(self.trial.store.root),
            spec=self.spec,
            data=str(self.data.root),
            threads=threads,
            use_gpu=False,
        )


@pytest.fixture(scope="session")
def tiny_study() -> str:
    """The file of a tiny study of the built-in digits."""
    return TINY


@pytest.fixture(scope="session")
def create_study() -> Callable[..., Created]:
    """Writes a submission of a study file, with a preset and `--set` style changes."""
    # Not before Ray's settings are made.
    from mimlab.search.submission import create, plan_study, storage_of
    from mimlab.spec.load import load_study
    from mimlab.storage.folders import TrialFolder

    def made(file: Path, *changes: str, preset: str | None = None) -> Created:
        loaded = load_study(file, preset, list(changes))
        planned = plan_study(loaded)
        store = storage_of(planned.study)
        submission = create(store, planned, loaded)
        return Created(submission, TrialFolder(store, planned.trials[0].id), planned.data)

    return made


@pytest.fixture(scope="session")
def create_tiny(create_study: Callable[..., Created]) -> Callable[..., Created]:
    """Writes a submission of a tiny study of the built-in digits into a folder."""

    def made(folder: Path, *changes: str) -> Created:
        file = folder / "tiny.yaml"
        file.write_text(TINY)
        return create_study(file, *changes)

    return made


@pytest.fixture
def submission(tmp_path: Path, create_tiny: Callable[..., Created]) -> SubmissionFolder:
    """Two trials that nobody has begun to run."""
    return create_tiny(tmp_path, AXES).submission


@pytest.fixture
def driven() -> Callable[[SubmissionFolder], Any]:
    """Meanwhile, this process is the driver."""
    from mimlab.storage import lease

    @contextmanager
    def hold(submission: SubmissionFolder) -> Iterator[lease.Lease]:
        own = lease.acquire(submission)
        for trial in submission.trials():
            lease.claim(trial, submission)
        yield own
        own.release()

    return hold


@pytest.fixture
def stands() -> Callable[..., None]:
    """Writes where a trial stands."""
    from mimlab.storage.records import StatusRecord

    def write(trial: TrialFolder, state: TrialState, **more: Any) -> None:
        trial.write_status(StatusRecord(state=state, **more))

    return write


@pytest.fixture
def checkpointed() -> Callable[..., TrainingState]:
    """Writes a checkpoint of a trial as if it had trained so far: all weights are step ÷ 1000."""
    from written_checkpoints import write_stopped

    return write_stopped


class Exported(NamedTuple):
    """A trial that has exported encoders, without having trained."""

    submission: SubmissionFolder
    trial: TrialFolder
    data: DataSet
    card: EncoderCard
    """Of the last export."""
    order: ProbeOrder


@pytest.fixture
def exported(tmp_path: Path, create_tiny: Callable[..., Created]) -> Callable[..., Exported]:
    """Writes the tiny study's trial, with `--set` style changes, and an export of each step."""
    from mimlab.spec.study import trial_spec
    from mimlab.train.build import build_objective
    from mimlab.train.export import write_export

    def write(steps: list[int], *changes: str) -> Exported:
        made = create_tiny(tmp_path, *changes)
        spec = trial_spec(made.spec)
        weights = build_objective(spec).backbone.vit.state_dict()
        cards = [
            write_export(
                made.trial,
                weights,
                step=step,
                epoch=step / 10,
                backbone=spec.backbone,
                image_size=spec.data.image_size,
            )
            for step in steps
        ]
        return Exported(made.submission, made.trial, made.data, cards[-1], made.order())

    return write


@pytest.fixture(scope="session")
def named_data() -> Callable[..., DataSet]:
    """Writes a whole data set: split → name → pixels, in shards of 12 rows and one row group."""
    # Not before Ray's settings are made.
    from mimlab.data.fingerprint import combined
    from mimlab.data.manifest import DataSet, Manifest, SizeRange

    def write(folder: Path, splits: dict[str, dict[str, np.ndarray]], version: int = 2) -> DataSet:
        folder.mkdir(parents=True)
        entries: list[SplitEntry] = []
        for split, images in splits.items():
            entries.append(_write_split(folder, split, images, sum(e.rows for e in entries)))
        side = SizeRange(min=1, median=1, max=1)
        manifest = Manifest(
            version=version,  # pyright: ignore[reportArgumentType]
            fingerprint=combined((e.name, e.rows, e.fingerprint) for e in entries),
            images=sum(entry.rows for entry in entries),
            classes=[],
            splits=entries,
            width=side,
            height=side,
            seed=0,
            rejects=0,
            converted={},
            ignored=0,
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json())
        return DataSet.open(folder)

    return write


def _write_split(
    folder: Path, split: str, images: dict[str, np.ndarray], first_id: int
) -> SplitEntry:
    from mimlab.data.fingerprint import split_fingerprint
    from mimlab.data.manifest import SplitEntry
    from mimlab.data.shards import shard_name, table_of, write_shard

    names = list(images)
    starts = range(0, len(names), NAMED_SHARD_ROWS)
    shards, digests = [], []
    for number, start in enumerate(starts):
        part = names[start : start + NAMED_SHARD_ROWS]
        sizes = [(images[name].shape[1], images[name].shape[0]) for name in part]
        encoded = [_png(images[name]) for name in part]
        rows = table_of(encoded, [None] * len(part), sizes, part)
        path = folder / shard_name(split, number, len(starts))
        shard, found = write_shard(path, rows, first_id=first_id + start)
        shards.append(shard)
        digests.append(found)
    fingerprint = split_fingerprint(digests)
    return SplitEntry(name=split, rows=len(names), fingerprint=fingerprint, shards=shards)


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
