"""`data.subset` of a study, held against its data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mimlab.errors import UserError
from mimlab.probe.due import due_of
from mimlab.search.preview import preview
from mimlab.search.submission import plan_study
from mimlab.spec.load import load_study
from mimlab.spec.study import trial_spec

EPOCH = "train.budget={epochs: 1}"


def test_an_axis_over_subsets_gives_trials_of_their_own_length(
    tmp_path: Path, create_tiny: Callable
) -> None:
    axis = "sweep.axes={data.subset: [0.5, 200, null, ['3', '1']]}"
    created = create_tiny(tmp_path, axis, EPOCH)
    shown = preview(plan_study(load_study(tmp_path / "tiny.yaml", None, [axis, EPOCH])))
    images = [trial.images for trial in shown.trials]
    assert images[:3] == [719, 200, 1438]  # digits has 1,438 images to train on
    assert 280 <= images[3] <= 300
    assert [trial.steps for trial in shown.trials] == [8, 2, 15, 3]
    assert shown.images == 1438
    assert len({trial.id for trial in shown.trials}) == 4
    records = created.submission.trial_records()
    spec = trial_spec(records[1].resolved)
    assert set(due_of(spec, created.data)) == {2}


@pytest.mark.parametrize(
    ("subset", "reason"),
    [
        ("50", "50 of the images do not fill a batch of 100"),
        ("0.01", "14 of the images do not fill a batch of 100"),
        ("9999", "9999 images are more than the 1438 of split train"),
        ("['3', 'three']", "no class is called 'three'; There are 0, 1"),
        ("0", "0 is no subset; expected a fraction above 0 and below 1"),
        ("1.5", "1.5 is no subset; expected a fraction above 0 and below 1"),
    ],
)
def test_a_subset_that_cannot_be_is_refused_where_it_stands(
    tmp_path: Path, create_tiny: Callable, subset: str, reason: str
) -> None:
    with pytest.raises(UserError) as caught:
        create_tiny(tmp_path, f"data.subset={subset}")
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"--set data.subset={subset}: data.subset: {reason}")
    with pytest.raises(UserError) as caught:
        create_tiny(tmp_path, f"sweep.axes={{data.subset: [0.5, {subset}]}}")
    assert reason in str(caught.value)
