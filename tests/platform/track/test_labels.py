"""Names and values that MLflow accepts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from mimlab.track.labels import MAX_VALUE, Scalar, name_key, param_value, run_name


@pytest.mark.parametrize(
    ("point", "name"),
    [
        ({"masking.name": "random", "masking.ratio": 0.75}, "random 0.75 s0"),
        ({"masking.name": "block", "target.name": "hog"}, "block hog s0"),
        ({"train.lr": 1.5e-4, "train.wd": 0.05}, "lr=0.00015 wd=0.05 s0"),
        ({"target.norm": True}, "norm=True s0"),
        ({"data.subset": None}, "subset=None s0"),
        ({"seed": 0}, "s0"),
        ({}, "s0"),
    ],
)
def test_a_trial_is_called_what_the_user_would_call_it(point: dict[str, Scalar], name: str) -> None:
    assert run_name(point, seed=0) == name


@given(st.text())
def test_any_text_becomes_a_key_that_mlflow_takes(text: str) -> None:
    _validate_metric_name(name_key(text))


@pytest.mark.parametrize("key", ["train/loss", "masking.name", "probe/knn/top1", "a b-c:d"])
def test_a_good_key_stays(key: str) -> None:
    assert name_key(key) == key


def test_long_values_that_differ_at_the_end_stay_different() -> None:
    one, other = param_value("x" * 600 + "1"), param_value("x" * 600 + "2")
    assert len(one) == len(other) == MAX_VALUE
    assert one != other
    assert param_value("x" * 500) == "x" * 500
