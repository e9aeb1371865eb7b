"""Sessions that train from a store: every objective's targets are those of its own views."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from mimlab.data.views import center_views, random_views
from mimlab.storage import control
from mimlab.storage.control import StopRequest
from mimlab.storage.journal import read_points
from mimlab.train.checkpoint import newest_checkpoint
from mimlab.train.reporter import VOLATILE_KEYS
from mimlab.train.trial_board import trial_board
from mimlab_objectives.objectives.batch import Batch

# Ray warns of options of its own when it makes its context.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
    # Nor does it close the log of a data set when it opens another one's.
    pytest.mark.filterwarnings("ignore:.*ray-data-dataset:pytest.PytestUnraisableExceptionWarning"),
]

VOCABULARY = 32
DECODER = "decoder_depth: 1, decoder_width: 16, decoder_heads: 2"
SHORT = ("train.budget={steps: 4}", "train.log_every=2", "probes=[]")
TOKENS, FEATURES = "target={name: tokens}", "target={name: features}"
CODED = {
    "mapet": ["objective={name: mapet}"],
    "pim": ["objective={name: pim}"],
    "simmim": [
        "objective={name: simmim}",
        "masking={name: block_unrepaired, ratio: 0.5, min_area: 2}",
    ],
    "cae": ["objective={name: cae, regressor_depth: 1, decoder_depth: 1}"],
    "mage": [f"objective={{name: mage, {DECODER}}}", "masking={name: mage}"],
}


def few(telling, ids, widths, heights, numbers, views) -> np.ndarray:
    return telling(ids, widths, heights, numbers, views) % VOCABULARY


@pytest.fixture
def coded(session_of, write_store, views_of, telling) -> list[str]:
    """Changes that make the tiny study read a store of two views of the digits."""
    data = session_of(folder="plain").data
    patches = np.random.default_rng(0).normal(size=(VOCABULARY, 3 * 8 * 8)).astype(np.float32)
    place = write_store(
        data,
        lambda *of: few(telling, *of),
        views=views_of(2),
        width=VOCABULARY,
        patches=patches,
    )
    return [TOKENS, f"data.tokens={place}"]


@pytest.mark.parametrize("name", list(CODED))
def test_objectives_with_codes_see_those_of_their_own_views(
    session_of, coded, telling, name, monkeypatch
):
    session = session_of(*coded, *CODED[name], *SHORT)
    target, seen = session.objective.target, []
    of = target.of

    def kept(batch):
        seen.append((batch.ids.clone(), of(batch).clone()))
        return of(batch)

    monkeypatch.setattr(target, "of", kept)
    assert session.run().state == "finished"
    for step, (ids, codes) in enumerate(seen[:4]):
        rows, epochs = session.plan.batch(step)
        assert ids.tolist() == session.split.ids(rows).tolist()
        sides = np.full_like(epochs, 8)
        assert session.store is not None
        views = session.store.views
        expected = few(telling, ids.numpy(), sides, sides, epochs % 2, views)
        assert np.array_equal(codes.numpy(), expected)
    board, _ = trial_board(session.trial, step=None, count=3)
    picture = cv2.imdecode(np.frombuffer(board, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[0] == 4 * (96 + 4)  # the images, what is seen, the prediction, the target


@pytest.mark.parametrize(
    "objective", [f"objective={{name: mae, {DECODER}}}", "objective={name: simmim}"]
)
def test_features_are_normalised_as_computed_ones_are(session_of, write_store, views_of, objective):
    def features(ids, *_):
        return np.random.default_rng(0).normal(3, 2, (len(ids), 16, 5))

    place = write_store(session_of(folder="plain").data, features, views=views_of(), width=5)
    session = session_of(FEATURES, f"data.tokens={place}", objective, *SHORT)
    assert session.run().state == "finished"
    stored = torch.randn(100, 16, 5, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.arange(100), torch.zeros(100, 3, 16, 16), stored=stored)
    values = session.objective.target.of(batch)
    assert torch.allclose(values.mean(-1), torch.zeros(100, 16), atol=1e-5)
    assert torch.allclose(values.var(-1, correction=0), torch.ones(100, 16), atol=1e-3)
    assert session.objective.target.axes.abs().sum() > 0


def test_a_trial_that_was_stopped_ends_as_an_undisturbed_one(session_of, coded):
    changes = [*coded, "objective={name: mapet}", "train.budget={steps: 20}", "probes=[]"]
    changes += ["train.checkpoint.every_epochs=0.5"]
    whole = session_of(*changes, folder="whole")
    assert whole.run().state == "finished"
    stopped = session_of(*changes, folder="stopped")
    control.request_stop(stopped.trial, StopRequest(state="stopped", reason="enough for today"))
    assert stopped.run().state == "stopped"
    control.clear(stopped.trial)
    again = session_of(*changes, folder="stopped")
    assert again.run().state == "finished"
    assert curve(again.trial) == curve(whole.trial)
    first, second = (saved(s.trial) for s in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def saved(trial) -> dict:
    found = newest_checkpoint(trial, on_unusable=lambda step: pytest.fail(f"step {step}"))
    assert found is not None
    return dict(found[0].objective)


def curve(trial) -> list:
    points = read_points(trial.store, trial.file("journal"))
    return [
        (p.step, {k: v for k, v in p.metrics.items() if k not in VOLATILE_KEYS}) for p in points
    ]


def test_one_view_of_a_fixed_crop_is_the_largest_centred_square(views_of):
    """As MaPeT trains: codes of one centred view (aimagelab/MaPeT), whatever the seed; sides that
    differ by a pixel may leave out either end."""
    widths, heights = np.array([64, 40, 33, 7, 33]), np.array([48, 90, 33, 20, 34])
    views = views_of(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0.0)
    for seed in range(3):
        found = random_views(
            seed,
            np.arange(5),
            np.zeros(5, np.int64),
            widths=widths,
            heights=heights,
            augment=views.augment,
        )
        centred = center_views(widths=widths, heights=heights)
        assert np.array_equal(found.boxes[:4], centred.boxes[:4])
        assert np.abs(found.boxes - centred.boxes).max() <= 1
        assert not found.flips.any()
