"""Every study of `sweeps/` is legal, under each preset, and says what it asks."""

from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.spec.checks import legal_trials
from mimlab.spec.load import load_study
from mimlab.spec.positions import read_study_file
from mimlab_objectives.backbones.vit import VitBackbone

SWEEPS = Path(__file__).parents[3] / "sweeps"
FILES = sorted(SWEEPS.rglob("*.yaml"))


def presets_of(file: Path) -> list[str | None]:
    return [None, *read_study_file(file)[1].get("presets", {})]


def changes_of(file: Path) -> list[str]:
    """Without the token store, which has to be made before such a study is legal."""
    return ["data.tokens=null"] if "tokens" in read_study_file(file)[1]["data"] else []


CASES = [(file, preset) for file in FILES for preset in presets_of(file)]


def test_there_are_studies() -> None:
    assert {"quickstart.yaml", "cifar10-masking.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize(("file", "preset"), CASES, ids=lambda case: getattr(case, "stem", case))
def test_a_study_expands_to_legal_trials(file: Path, preset: str | None) -> None:
    loaded = load_study(file, preset, changes_of(file))
    assert legal_trials(loaded) == legal_trials(loaded)
    assert loaded.study.study == file.stem


def test_a_study_on_a_token_store_is_refused_without_it() -> None:
    with pytest.raises(UserError, match=r"cifar10-tokens.yaml:\d+: data.tokens: "):
        legal_trials(load_study(SWEEPS / "cifar10-tokens.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_study_says_which_question_it_answers(file: Path) -> None:
    loaded = load_study(file)
    assert loaded.study.question.endswith("?")
    assert loaded.text.startswith("# Which question does this study answer?")


def test_the_quickstart_compares_two_maskings_at_two_ratios() -> None:
    trials = legal_trials(load_study(SWEEPS / "quickstart.yaml"))
    pairs = [(trial.point["masking.name"], trial.point["masking.ratio"]) for trial in trials]
    assert pairs == [("random", 0.5), ("random", 0.75), ("block", 0.5), ("block", 0.75)]
    train = trials[0].spec.train
    assert train.optimizer.base_lr * train.batch_size / 256 == pytest.approx(1.5e-3)


def test_the_cifar_study_has_about_two_million_encoder_parameters() -> None:
    file = SWEEPS / "cifar10-masking.yaml"
    trials, small = legal_trials(load_study(file)), legal_trials(load_study(file, "laptop"))
    assert (len(trials), len(small)) == (12, 4)
    backbone = VitBackbone(trials[0].spec.backbone, trials[0].spec.data.image_size)
    assert 1.7e6 < sum(parameter.numel() for parameter in backbone.parameters()) < 2.5e6
