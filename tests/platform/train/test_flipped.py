"""A bit that flipped, in whatever file of a checkpoint or an export, is found before it counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from written_checkpoints import manifest_of, state_of

from mimlab.probe.base import Probe
from mimlab.probe.scheduler import ProbeScheduler
from mimlab.probe.task import probe_export
from mimlab.spec.study import trial_spec
from mimlab.storage.folders import TrialFolder
from mimlab.storage.store import Store
from mimlab.train.build import build_objective
from mimlab.train.checkpoint import newest_checkpoint, read_checkpoint
from mimlab.train.checkpoint import write_checkpoint as write
from mimlab.train.export import read_card, weights_of


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """One with checkpoints at steps 5 and 10."""
    trial = TrialFolder(Store(tmp_path_factory.mktemp("flipped")), "trial")
    for step in (5, 10):
        write(
            trial,
            state_of(step, {"weight": torch.full((3,), float(step))}),
            manifest_of(step, step / 10),
        )
    return trial


def file_of(trial: TrialFolder, name: str) -> Path:
    return trial.store.scratch(trial.file(name))


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_bit_of_a_manifest_counts(
    trial: TrialFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    file = file_of(trial, "checkpoints/step_000000010/manifest.json")
    whole = file.read_bytes()
    try:
        for bit in range(8 * len(whole)):
            file.write_bytes(flipped(whole, bit))
            assert read_checkpoint(trial, 10) is None, (bit, flipped(whole, bit))
    finally:
        file.write_bytes(whole)


@settings(max_examples=60)
@given(data=st.data())
def test_any_bit_of_a_state_counts_and_nothing_of_it_is_loaded(trial, data) -> None:
    file = file_of(trial, "checkpoints/step_000000010/state.pt")
    whole = file.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    try:
        file.write_bytes(flipped(whole, bit))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
            assert read_checkpoint(trial, 10) is None
        unusable: list[int] = []
        found = newest_checkpoint(trial, on_unusable=unusable.append)
        assert found is not None and (found[0].step, unusable) == (5, [10])
    finally:
        file.write_bytes(whole)


def test_a_manifest_of_an_earlier_version_is_taken(trial: TrialFolder) -> None:
    path = trial.file("checkpoints/step_000000010/manifest.json")
    found = read_checkpoint(trial, 10)
    assert found is not None
    sealed = trial.store.read(path)
    trial.store.write_record(path, found[1])
    assert b"seal" not in trial.store.read(path)
    assert read_checkpoint(trial, 10) is not None
    trial.store.write(path, sealed)


FILES = ("encoder.json", "encoder.safetensors")


def flip(trial: TrialFolder, name: str) -> None:
    file = file_of(trial, f"exports/step_000000024/{name}")
    data = file.read_bytes()
    file.write_bytes(flipped(data, 4 * len(data)))


def test_every_bit_of_an_exports_description_counts(exported: Callable) -> None:
    made = exported([24])
    file = file_of(made.trial, "exports/step_000000024/encoder.json")
    whole = file.read_bytes()
    for bit in range(0, 8 * len(whole), 5):
        file.write_bytes(flipped(whole, bit))
        assert read_card(made.trial, 24) is None, flipped(whole, bit)
    file.write_bytes(whole)
    assert read_card(made.trial, 24) == made.card


@pytest.mark.parametrize("name", FILES)
def test_a_probe_refuses_a_corrupt_export(exported: Callable, name: str) -> None:
    made = exported([24])
    flip(made.trial, name)
    with pytest.raises(ValueError, match="export of step 24 is corrupt, and no checkpoint"):
        probe_export(made.order.model_dump(mode="json"), made.trial.id, 24, ["knn"])
    assert made.trial.probes() == []


@pytest.mark.parametrize("name", FILES)
def test_a_corrupt_export_is_made_again_from_its_checkpoint(exported: Callable, name: str) -> None:
    made = exported([24])
    whole = weights_of(made.trial, made.card)
    objective = build_objective(trial_spec(made.order.spec))
    write(made.trial, state_of(24, dict(objective.state_dict())), manifest_of(24, 2.4))
    flip(made.trial, name)
    probe_export(made.order.model_dump(mode="json"), made.trial.id, 24, ["knn"])
    card = read_card(made.trial, 24)
    assert card is not None and weights_of(made.trial, card) == whole
    (record,) = made.trial.probes()
    assert (record.error, record.encoder_hash) == ("", card.weights_sha256)
    log = made.trial.store.read(made.trial.file("log.jsonl")).decode()
    assert "export corrupt" in log and "exported again from its checkpoint" in log


@pytest.mark.slow
def test_a_probe_that_cannot_be_made_says_so(exported: Callable, ray_local: None) -> None:
    made = exported([24])
    flip(made.trial, "encoder.json")
    due: dict[int, list[Probe]] = {24: [*trial_spec(made.order.spec).probes]}
    scheduler = ProbeScheduler(made.trial, due, made.order, cpus=0.1)
    deadline = time.monotonic() + 120
    while not made.trial.probes() and time.monotonic() < deadline:
        scheduler.poll()
        time.sleep(0.2)
    (record,) = made.trial.probes()
    assert "export of step 24 is corrupt" in record.error and record.metrics == {}
