"""One image poisons one trial of a study: recorded, replayed, and no other trial's business."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mimlab.train.divergence import DivergenceRecord, divergences
from mimlab.train.replayed import Replayed

pytestmark = pytest.mark.slow

PLUGIN = Path(__file__).parents[1] / "plugin" / "poison" / "poison_parts.py"
SAMPLE = 700


def poisoned(study: str) -> str:
    """Two short trials: one whose target is not finite for an image, one whose target is."""
    head, _, tail = study.partition("sweep:")
    _, _, resources = tail.partition("resources:")
    study = f"{head}sweep: {{axes: {{target.sample: [{SAMPLE}, -1]}}}}\nresources:{resources}"
    study = study.replace("target: {name: pixels}", "target: {name: poison}")
    return study.replace("steps: 600", "steps: 60").replace(
        "every_epochs: 2,", "every_epochs: 0.2,"
    )


class Poisoned(NamedTuple):
    lab: Any
    said: Any
    record: DivergenceRecord


@pytest.fixture(scope="module")
def run(make_lab, tiny: str, tmp_path_factory: pytest.TempPathFactory):
    site = tmp_path_factory.mktemp("site")
    shutil.copy(PLUGIN, site)
    metadata = site / "poison_parts-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: poison-parts\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[mimlab.parts]\npoison = poison_parts\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        lab = make_lab(poisoned(tiny))
        said = lab.call("run", "tiny.yaml")
        (record,) = divergences(lab.trials[0])
        yield Poisoned(lab, said, record)


def test_one_trial_diverges_and_the_other_goes_on(run: Poisoned) -> None:
    assert run.said.code == 1 and run.said.noise == []
    assert run.lab.states == ["diverged", "finished"]


def test_the_reason_names_step_sample_file_and_command(run: Poisoned) -> None:
    trial, record = run.lab.trials[0], run.record
    assert trial.status().reason == record.reason
    assert f"step {record.step} is not finite (sample {SAMPLE})" in record.reason
    assert trial.store.exists(trial.file(f"diverged/{record.step:09d}.json"))
    assert record.replay in run.said.words


def test_the_record_has_the_sample_and_what_went_before(run: Poisoned) -> None:
    record = run.record
    assert record.not_finite == [SAMPLE] and SAMPLE in record.ids
    steps = [row.step for row in record.last_steps]
    assert steps == list(range(len(steps))) and record.step in steps
    assert record.checkpoint in (0, *run.lab.trials[0].steps("checkpoints"))


def test_mlflow_says_so(run: Poisoned) -> None:
    bad, good = map(run.lab.shown, run.lab.trials)
    assert (bad.info.status, good.info.status) == ("FAILED", "FINISHED")
    assert bad.data.tags["mimlab.state"] == "diverged"
    assert bad.data.tags["mimlab.reason"] == run.record.reason
    assert run.lab.shown(run.lab.submission).info.status == "FAILED"


def test_the_command_of_the_reason_reproduces_the_step(run: Poisoned, tmp_path: Path) -> None:
    _, *arguments = shlex.split(run.record.replay)
    said = run.lab.call(*arguments, "--json", "--to", str(tmp_path / "step"))
    assert (said.code, said.err) == (0, ""), said
    found = Replayed.model_validate_json(said.out)
    assert (found.recorded, found.same_code) == ("yes", True)
    assert found.start_step == run.record.checkpoint
    assert [sample.id for sample in found.samples if not sample.finite] == [SAMPLE]
    # Neither the batch nor a module: it is the target that is not finite.
    assert found.first_not_finite is None and not found.bad_inputs and found.bad_gradients
    place = run.record.ids.index(SAMPLE)
    assert (tmp_path / "step" / f"{place:05d}-{SAMPLE}.png").exists()
    told = run.lab.call(*arguments).words
    assert f"samples whose loss is not finite: {SAMPLE} (1 of 64)" in told


def test_the_finished_trial_is_replayed_too(run: Poisoned) -> None:
    trial = run.lab.trials[1]
    said = run.lab.call("replay", trial.id, "--step", "59")
    assert "same as recorded: yes" in said.words and "loss and gradient are finite" in said.words


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing", "--step", "1"], "there is no trial 'nothing'"),
        (["FINISHED", "--step", "60"], "--step 60: trial FINISHED has the steps 0 to 59"),
    ],
)
def test_what_cannot_be_replayed_is_one_line(
    run: Poisoned, arguments: list[str], told: str
) -> None:
    own = run.lab.trials[1].id
    said = run.lab.call("replay", *(argument.replace("FINISHED", own) for argument in arguments))
    assert said.code == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert told.replace("FINISHED", own) in said.err
