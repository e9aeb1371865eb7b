"""`backbone.init` of a study: found once, at submission, and known by its content from then on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import timm
from timm.models import get_pretrained_cfg, load_state_dict
from torch import Tensor

from mimlab.errors import UserError
from mimlab.export.choice import encoder_at, find_trial, last_encoder
from mimlab.spec.errors import Problem
from mimlab.spec.expand import Trial, refuse_points
from mimlab.spec.load import LoadedStudy
from mimlab.spec.paths import CONTENT_PREFIX, TIMM_WEIGHTS, TRIAL_PREFIX
from mimlab.spec.points import Point
from mimlab.spec.study import TrialSpec
from mimlab.storage.store import Store
from mimlab.storage.weights import read_weights
from mimlab.train.export import WEIGHTS_FILE as INTERNAL_FILE
from mimlab.train.export import weights_of
from mimlab_objectives.backbones.initial import fitted
from mimlab_objectives.backbones.vit import BackboneParams, VitBackbone
from mimlab_objectives.registry import ParamsError
from mimlab_objectives.shapes_only import shapes_only

FILES = ("model.safetensors", INTERNAL_FILE)
"""What a folder may hold: an exported encoder, or one as a trial's folder has it."""

_TRIAL = re.compile(rf"{TRIAL_PREFIX}(?P<id>[^@]+)(@(?P<step>\d+))?")


@dataclass(frozen=True)
class InitialWeights:
    """What a trial's encoder starts from."""

    data: bytes
    """A safetensors file, equal for equal tensors wherever they came from."""

    @property
    def reference(self) -> str:
        """What stands in the resolved trial instead of where it was found."""
        return f"{CONTENT_PREFIX}{hashlib.sha256(self.data).hexdigest()}"


def initial_weights(loaded: LoadedStudy, trials: Sequence[Trial], store: Store) -> InitialOf:
    """The weights of every trial that has `backbone.init`, known to fit its encoder.

    Raises UserError that names the line of each that cannot be found or does not fit.
    """
    found: dict[tuple[str, str], InitialWeights] = {}
    problems: list[tuple[Point, Problem]] = []
    points = trials[:: len(loaded.study.sweep.seeds)]
    for trial in points:
        backbone = trial.spec.backbone
        if backbone.init is None:
            continue
        key = _key(backbone)
        try:
            if key not in found:
                found[key] = InitialWeights(_serialised(_tensors(backbone, store)))
            _check_fit(found[key], trial.spec)
        except (UserError, ParamsError) as error:
            problems.append((trial.settings, Problem(("backbone", "init"), str(error))))
    refuse_points(problems, len(points), loaded.source, remedy=False)
    return InitialOf(found)


@dataclass(frozen=True)
class InitialOf:
    """Initial weights by what a study calls them."""

    found: Mapping[tuple[str, str], InitialWeights]

    def resolved(self, spec: TrialSpec) -> TrialSpec:
        """The trial with the hash of its weights in the place of their name."""
        if spec.backbone.init is None:
            return spec
        update = {"init": self.found[_key(spec.backbone)].reference}
        return spec.model_copy(update={"backbone": spec.backbone.model_copy(update=update)})


def _key(backbone: BackboneParams) -> tuple[str, str]:
    assert backbone.init is not None
    return backbone.init, backbone.name if backbone.init == TIMM_WEIGHTS else ""


def _check_fit(initial: InitialWeights, spec: TrialSpec) -> None:
    with shapes_only():
        backbone = VitBackbone(spec.backbone, spec.data.image_size)
    fitted(safetensors.torch.load(initial.data), backbone)


def _tensors(backbone: BackboneParams, store: Store) -> dict[str, Tensor]:
    """What `backbone.init` names. Raises UserError."""
    init = backbone.init
    assert init is not None
    if init == TIMM_WEIGHTS:
        return _of_timm(backbone.name)
    if init.startswith(TRIAL_PREFIX):
        return _of_trial(init, store)
    if init.startswith(CONTENT_PREFIX):
        try:
            return safetensors.torch.load(read_weights(store, init.removeprefix(CONTENT_PREFIX)))
        except (FileNotFoundError, ValueError) as error:
            raise UserError(f"{store.root} keeps no weights {init}") from error
    return _of_file(Path(init))


def _of_timm(name: str) -> dict[str, Tensor]:
    known = get_pretrained_cfg(name)
    if known is None or not known.has_weights:
        raise UserError(f"timm has no pretrained weights of {name}")
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # whatever the network, the hub and the cache may raise
        raise UserError(
            f"timm's weights of {name} are not in its cache and cannot be fetched "
            f"({type(error).__name__}); fetch them where there is a network, or name a file"
        ) from error
    return model.state_dict()


def _of_trial(init: str, store: Store) -> dict[str, Tensor]:
    match = _TRIAL.fullmatch(init)
    if match is None:
        raise UserError(f"{init!r}: a trial is named `trial:<id>` or `trial:<id>@<step>`")
    trial = find_trial(store, match["id"])
    step = match["step"]
    card = last_encoder(trial) if step is None else encoder_at(trial, int(step))
    try:
        return safetensors.torch.load(weights_of(trial, card))
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{error}; name another step") from error


def weights_file(path: Path) -> Path:
    """The file that a path names, or that lies in the folder of an exported encoder.

    Raises UserError.
    """
    if path.is_dir():
        held = [path / name for name in FILES if (path / name).is_file()]
        if not held:
            raise UserError(f"{path} holds no {' or '.join(FILES)}; is it an exported encoder?")
        path = held[0]
    if not path.is_file():
        raise UserError(
            f"there is no file {path}; give null, `timm`, a file or an exported folder, or "
            "`trial:<id>`"
        )
    return path


def _of_file(path: Path) -> dict[str, Tensor]:
    path = weights_file(path)
    try:
        tensors = load_state_dict(str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # pickle, zip and safetensors each have errors of their own
        raise UserError(
            f"{path} cannot be read as weights; it should be a safetensors file or a state_dict "
            "of tensors alone, saved by torch"
        ) from error
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"{path} holds no state_dict: names and tensors")
    return tensors


def _serialised(tensors: Mapping[str, Tensor]) -> bytes:
    """safetensors of copies: names may share memory, which the format refuses."""
    return safetensors.torch.save(
        {name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)}
    )
