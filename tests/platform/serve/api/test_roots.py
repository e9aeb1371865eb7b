"""Studies name what lies in the roots, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimlab.errors import UserError
from mimlab.serve.checking import Checker, PastedStudy
from mimlab.serve.security.roots import Roots
from mimlab.storage.store import Store

BUCKET = "s3://team/data"


@pytest.fixture
def checker(tmp_path: Path) -> Checker:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").mkdir()
    store = Store(tmp_path / "results")
    roots = [str(tmp_path / "data"), BUCKET, "http://mlflow:5000"]
    return Checker(store, Roots.of(roots, store.root))


def refused(checker: Checker, study: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        checker.loaded(PastedStudy(text=study, overrides=list(overrides)))
    return str(caught.value)


def accepted(checker: Checker, study: str, *overrides: str) -> None:
    checker.loaded(PastedStudy(text=study, overrides=list(overrides)))


@pytest.mark.parametrize(
    "override",
    [
        "data.images=/etc",
        "data.images=../../etc",
        "data.images=somewhere",
        "data.images=~/images",
        "data.images=file:///etc",
        "data.images=s3://other/data",
        "data.images=s3://team/database",
        "data.images='s3://team/data?endpoint_override=evil:80&scheme=http'",
        "data.tokens=/etc/tokens",
        "data.sidecars={prior: /etc/maps}",
        "data.sidecars={prior: maps}",
        "backbone.init=/etc/passwd",
        "backbone.init=weights.safetensors",
        "'backbone.init=trial:../../secret'",
        "storage=/tmp/elsewhere",
        "tracking.uri=http://evil:5000",
        "tracking.uri=http://mlflow:5000@evil",
        "tracking.uri=sqlite:////etc/mlflow.db",
        "tracking.uri=sqlite:///mlflow.db",
        "tracking.uri=file:///etc",
        "sweep.axes={data.images: [digits, /etc]}",
        "sweep.axes={backbone.init: [null, weights.safetensors]}",
        "sweep.axes={data.sidecars: [{prior: maps}]}",
        "presets={small: {data: {images: /etc}}}",
    ],
)
def test_what_lies_elsewhere_is_refused(checker: Checker, study: str, override: str) -> None:
    override = override.strip("'") if override.startswith("'") else override
    assert override.partition("=")[0].split(".")[0] in refused(checker, study, override)


def test_a_link_out_of_a_root_is_followed_and_refused(
    checker: Checker, study: str, tmp_path: Path
) -> None:
    (tmp_path / "data" / "link").symlink_to(tmp_path / "secret")
    assert "outside" in refused(checker, study, f"data.images={tmp_path}/data/link/images")


def test_dots_are_resolved(checker: Checker, study: str, tmp_path: Path) -> None:
    assert "outside" in refused(checker, study, f"data.images={tmp_path}/data/../secret")


@pytest.mark.parametrize(
    "override",
    [
        "data.images=digits",
        "data.images=ROOT/data/imagenet",
        "data.images=s3://team/data/imagenet",
        "data.tokens=ROOT/results/tokens",
        "backbone.init=timm",
        "backbone.init=trial:3f9c2a7be104@120",
        "tracking.uri=http://mlflow:5000",
        "tracking.uri=sqlite:///ROOT/results/mlflow.db",
        "question=/is this a path, or ../prose?",
        "storage=ROOT/results",
    ],
)
def test_what_lies_in_a_root_is_not(
    checker: Checker, study: str, override: str, tmp_path: Path
) -> None:
    accepted(checker, study, override.replace("ROOT", str(tmp_path)))


def test_a_study_without_storage_is_sound_whatever_folder_this_is(
    checker: Checker, study: str
) -> None:
    accepted(checker, study)


@pytest.mark.parametrize("change", ["data.images=/etc", "backbone={init: /etc/passwd}"])
def test_changes_of_a_trial_are_kept_within_the_roots(checker: Checker, change: str) -> None:
    with pytest.raises(UserError, match="outside"):
        checker.check_changes([change])
    checker.check_changes(["train.batch_size=3"])


@given(parts=st.lists(st.sampled_from(["..", "a", "b", ".", "data", "secret"]), max_size=8))
def test_no_path_of_dots_leaves_a_root(parts: list[str]) -> None:
    roots = Roots((Path("/nowhere/data"),))
    place = Path("/nowhere/data", *parts)
    inside = str(place.resolve()).startswith("/nowhere/data/") or place.resolve() == Path(
        "/nowhere/data"
    )
    assert roots.holds(place) == inside


def test_a_root_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Roots.of([str(tmp_path / "none")], tmp_path)
