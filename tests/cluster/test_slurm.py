"""The batch script, run by a real shell, with a `srun` and a `scontrol` that know one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "study.sbatch"

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
case $1 in
    show) printf 'first\\nsecond\\n' ;;
    requeue) echo "$2" > "$REQUEUED" ;;
esac
"""
HOSTNAME = """#!/bin/bash
echo 127.0.0.1
"""
LEAVE_S = 20.0
STUDY = """
study: slurm
data: {images: digits, image_size: 16, augment: {crop_scale: [0.8, 1.0], flip: 0.0}}
backbone: {name: vit_tiny_patch16_224, patch_size: 4, embed_dim: 32, depth: 1, num_heads: 2}
objective: {name: mae, decoder_width: 16, decoder_depth: 1, decoder_heads: 2}
target: {name: pixels}
masking: {name: random, ratio: 0.75}
train: {budget: {steps: %d}, batch_size: 100, warmup_epochs: 0.1, log_every: 5}
storage: results
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.end()


class Job:
    """One job of two nodes, both on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requeued = folder / "requeued"
        self._process: subprocess.Popen | None = None
        tools = folder / "bin"
        tools.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("hostname", HOSTNAME)):
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        here = Path(sys.executable).parent
        self.env = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
        self.env |= {
            "PATH": f"{tools}:{here}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT / 'objectives'}",
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_CPUS_PER_TASK": "2",
            "RAY_TMPDIR": "/tmp",
            "RAY_memory_monitor_refresh_ms": "0",
            "REQUEUED": str(self.requeued),
        }

    def start(self, *arguments: str) -> subprocess.Popen:
        with (self.folder / "job.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(SCRIPT), *arguments],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process

    def log(self) -> str:
        return (self.folder / "job.log").read_text()

    def members(self) -> list[psutil.Process]:
        """Everything that runs with this job's own variable in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("REQUEUED") == str(self.requeued):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left(self) -> list[str]:
        """What still runs some seconds after its end; Slurm gives a step as long to end, too."""
        psutil.wait_procs(self.members(), timeout=LEAVE_S)
        return [" ".join(process.cmdline()) for process in self.members()]

    def end(self) -> None:
        for process in self.members():
            process.kill()


def test_it_is_a_shell_script_that_asks_slurm_for_a_warning_and_a_requeue() -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    asked = [line for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --requeue" in asked
    [warning] = [line for line in asked if "--signal" in line]
    warned_s = int(warning.rpartition("@")[2])
    grace_s = int(SCRIPT.read_text().partition("\ngrace=")[2].split()[0])
    assert grace_s < warned_s


def test_without_a_study_it_says_how_it_is_called(job: Job) -> None:
    assert job.start().wait(60) == 2
    assert "usage: sbatch" in job.log()


RAY = """#!/bin/bash
# A head that answers, and ends when it is told to.
[[ $* == *--head* ]] || exec sleep 600
port=$(sed 's/.*--port=\\([0-9]*\\).*/\\1/' <<< "$*")
exec python -c "
import os, socket, sys, time
server = socket.create_server(('127.0.0.1', $port))
while not os.path.exists(os.environ['REQUEUED'] + '.end'): time.sleep(0.1)
"
"""
MIMLAB = """#!/bin/bash
echo "driver at $RAY_ADDRESS: $*"
trap 'exit %d' TERM
touch "$REQUEUED.runs"
for _ in $(seq 600); do sleep 0.1; done
exit 0
"""


def await_file(file: Path) -> None:
    deadline = time.monotonic() + 100
    while not file.exists():
        assert time.monotonic() < deadline, f"no {file}"
        time.sleep(0.05)


@pytest.fixture
def quick(job: Job) -> Job:
    """With a driver and a head that stand in for those that take a minute to start."""
    for name, text in (("ray", RAY), ("mimlab", MIMLAB % 75)):
        (job.folder / "bin" / name).write_text(text)
        (job.folder / "bin" / name).chmod(0o755)
    return job


def test_work_that_is_left_queues_the_job_again_and_ends_every_step(quick: Job) -> None:
    process = quick.start("study.yaml", "--preset", "big")
    await_file(quick.folder / "requeued.runs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75, quick.log()
    assert "supervise study.yaml --preset big --grace 90" in quick.log()
    assert quick.requeued.read_text() == "4711\n"
    assert quick.members() == []


def test_a_head_that_ends_ends_the_driver_and_queues_the_job_again(quick: Job) -> None:
    process = quick.start("study.yaml")
    await_file(quick.folder / "requeued.runs")
    (quick.folder / "requeued.end").touch()
    assert process.wait(60) == 75, quick.log()
    assert "Ray's head on first has ended" in quick.log()
    assert quick.requeued.read_text() == "4711\n"
    assert quick.members() == []


def test_a_job_that_was_queued_too_often_gives_up(quick: Job) -> None:
    quick.env["SLURM_RESTART_COUNT"] = "50"
    process = quick.start("study.yaml")
    await_file(quick.folder / "requeued.runs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert not quick.requeued.exists()


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_driver_that_is_done_is_not_started_again(quick: Job, code: int) -> None:
    (quick.folder / "bin" / "mimlab").write_text(f"#!/bin/bash\nexit {code}\n")
    assert quick.start("study.yaml").wait(60) == code, quick.log()
    assert not quick.requeued.exists()
    assert quick.members() == []


@pytest.mark.slow
@pytest.mark.own_cluster
def test_a_study_runs_on_the_nodes_of_a_job_and_nothing_of_it_is_left(job: Job) -> None:
    (job.folder / "study.yaml").write_text(STUDY % 20)
    process = job.start("study.yaml")
    assert process.wait(800) == 0, job.log()
    [status] = (job.folder / "results" / "trials").glob("*/status.json")
    assert '"finished"' in status.read_text()
    assert not job.requeued.exists()
    assert job.left() == []


@pytest.mark.slow
@pytest.mark.own_cluster
def test_a_warning_from_slurm_saves_and_queues_the_job_again(job: Job) -> None:
    (job.folder / "study.yaml").write_text(STUDY % 100_000)
    process = job.start("study.yaml")
    deadline = time.monotonic() + 600
    while not list(job.folder.glob("results/trials/*/journal/*.jsonl")):
        assert process.poll() is None, job.log()
        assert time.monotonic() < deadline, job.log()
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(200) == 75, job.log()
    assert job.requeued.read_text() == "4711\n"
    [status] = (job.folder / "results" / "trials").glob("*/status.json")
    assert '"preempted"' in status.read_text()
    assert list(job.folder.glob("results/trials/*/checkpoints/*/manifest.json"))
    assert job.left() == []
