"""A part of the training split."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mimlab.data.augment import AugmentConfig
from mimlab.data.manifest import DataSet, Manifest, ShardEntry, SizeRange, Split, SplitEntry
from mimlab.data.read_plan import ReadPlan
from mimlab.data.reader import read_rows
from mimlab.data.rendering import ViewSpec
from mimlab.data.stream import BatchStream
from mimlab.data.subset import Subset, SubsetSplit, training_split
from mimlab.errors import UserError

CLASSES = [f"class {label}" for label in range(10)]
SIDE = SizeRange(min=1, median=1, max=1)


def data_of(split: Split, classes: list[str] = CLASSES) -> DataSet:
    """The data set that consists of one split."""
    manifest = Manifest(
        fingerprint="",
        images=split.num_rows,
        classes=classes,
        splits=[split.entry],
        width=SIDE,
        height=SIDE,
        seed=0,
        rejects=0,
        converted={},
        ignored=0,
    )
    return DataSet(split.root, manifest)


def split_without_files(tmp_path_factory: pytest.TempPathFactory, groups: list[int]) -> Split:
    shard = ShardEntry(file="a.parquet", rows=sum(groups), row_groups=groups, bytes=0, sha256="")
    entry = SplitEntry(name="train", rows=sum(groups), fingerprint="", shards=[shard])
    return Split(tmp_path_factory.getbasetemp(), entry, first_id=0)


def ids_of(split: Split) -> list[int]:
    return split.ids(np.arange(split.num_rows)).tolist()


groups = st.lists(st.integers(1, 9), min_size=1, max_size=30)


@given(groups, st.floats(0, 1, exclude_min=True, exclude_max=True), st.data())
@settings(max_examples=60, deadline=None)
def test_a_smaller_subset_is_part_of_a_larger_one(tmp_path_factory, groups, fraction, data):
    whole = data_of(split_without_files(tmp_path_factory, groups))
    count = data.draw(st.integers(1, sum(groups)))
    by_fraction, by_number = (training_split(whole, "train", s) for s in (fraction, count))
    assert by_fraction.num_rows == max(1, round(fraction * sum(groups)))
    assert by_number.num_rows == count
    small, large = sorted([ids_of(by_fraction), ids_of(by_number)], key=len)
    assert set(small) <= set(large)


@given(groups, st.data())
@settings(max_examples=60, deadline=None)
def test_rows_of_row_groups_are_the_chosen_ones(tmp_path_factory, groups, data):
    whole = split_without_files(tmp_path_factory, groups)
    chosen = data.draw(st.sets(st.integers(0, sum(groups) - 1), min_size=1))
    part = SubsetSplit(whole.root, whole.entry, 100, np.array(sorted(chosen)))
    starts = np.cumsum([0, *groups])
    found = [
        starts[part.locate(group)[1]] + row
        for group in range(len(part.rows_per_group))
        for row in part.kept(group)
    ]
    assert found == sorted(chosen)
    assert part.rows_per_group.min() >= 1
    assert part.num_rows == part.rows_per_group.sum() == len(chosen)
    assert ids_of(part) == [row + 100 for row in sorted(chosen)]


def test_a_tenth_is_spread_over_the_split(tmp_path_factory):
    whole = data_of(split_without_files(tmp_path_factory, [250] * 400))
    rows = np.array(ids_of(training_split(whole, "train", 0.1)))
    counts = np.bincount(rows // 10_000, minlength=10)
    # 1,000 of each tenth: sd 28.5, five of them.
    assert np.abs(counts - 1000).max() < 143


def test_null_is_the_split_itself(tmp_path_factory):
    whole = data_of(split_without_files(tmp_path_factory, [4, 4]))
    assert training_split(whole, "train", None) is whole.split("train")


def test_classes_choose_all_their_images(split_of, pictures):
    whole = split_of(pictures)
    labels = [label for s in whole.shards for label in pq.read_table(s.path)["label"].to_pylist()]
    found = training_split(data_of(whole), "train", ("class 3", "class 8"))
    assert ids_of(found) == [i for i, label in enumerate(labels) if label in (3, 8)]


def test_rows_are_those_of_the_subset(split_of, pictures):
    part = training_split(data_of(split_of(pictures)), "train", 30)
    rows = np.array([29, 0, 7, 7, 15])
    table = read_rows(part, rows)
    assert table["id"].to_pylist() == part.ids(rows).tolist()
    assert table["image"].to_pylist() == [pictures[i] for i in part.ids(rows)]


@pytest.mark.usefixtures("ray_local")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
@pytest.mark.filterwarnings("ignore:.*ray-data-dataset:pytest.PytestUnraisableExceptionWarning")
def test_an_epoch_is_the_subset_and_decodes_nothing_else(split_of, pictures):
    """Images that were not chosen are damaged, so decoding one would be counted."""
    chosen = set(ids_of(training_split(data_of(split_of(pictures)), "train", 40)))
    images = [image if i in chosen else b"damaged" for i, image in enumerate(pictures)]
    part = training_split(data_of(split_of(images)), "train", 40)
    plan = ReadPlan(part.rows_per_group, 1, 10)
    view = ViewSpec(16, AugmentConfig(), 5)
    batches = list(BatchStream(part, plan, view, start_step=0, stop_step=12))
    ids = np.concatenate([batch.ids for batch in batches])
    assert [batch.skipped for batch in batches] == [0] * 12
    assert (np.sort(ids.reshape(3, 40), axis=1) == sorted(chosen)).all()
    assert ids.tolist() == part.ids(plan.rows(0, 120)[0]).tolist()


@pytest.mark.parametrize(
    ("subset", "reason"),
    [
        (91, "91 images are more than the 90 of split train; null takes all"),
        (("class 3", "clas 4"), "no class is called 'clas 4'; did you mean 'class 4'? There are"),
    ],
)
def test_what_the_data_do_not_have_is_refused(split_of, pictures, subset, reason):
    with pytest.raises(UserError) as caught:
        training_split(data_of(split_of(pictures)), "train", subset)
    assert reason in str(caught.value)


def test_classes_of_a_data_set_without_labels_are_refused(split_of, pictures):
    with pytest.raises(UserError, match="the data set has no labels"):
        training_split(data_of(split_of(pictures), classes=[]), "train", ("cat",))


def test_a_class_that_the_split_lacks_is_refused(split_of, pictures):
    data = data_of(split_of(pictures), classes=[*CLASSES, "yeti"])
    with pytest.raises(UserError, match="split train has no image of yeti"):
        training_split(data, "train", ("yeti",))


@pytest.mark.parametrize("value", ["0", "1.0", "1.5", "-3", "true", "[]", "[1]", '"cat"', "{}"])
def test_what_is_no_subset_is_told_what_one_is(value):
    with pytest.raises(ValidationError, match="expected a fraction above 0 and below 1"):
        TypeAdapter(Subset).validate_json(value, strict=True)


@pytest.mark.parametrize(
    ("value", "subset"), [("0.5", 0.5), ("1", 1), ('["b", "a", "b"]', ("a", "b"))]
)
def test_the_order_of_classes_means_nothing(value, subset):
    assert TypeAdapter(Subset).validate_json(value, strict=True) == subset
