"""State_dicts and safetensors of torchvision, timm and transformers, and ONNX files of torch.onnx.

Needs the extra `test-torch`; timm and torchvision where they are installed. Seeded networks written
by the frameworks themselves, seeded pictures.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine.convert import convert
from mnv2_engine.errors import CheckpointError, InputError, UnsupportedError
from mnv2_engine.executors.reference import run
from mnv2_engine.model.modelfile import open_model

torch = pytest.importorskip("torch", reason="needs the extra test-torch")

SIZE = 64
X = np.random.default_rng(0).uniform(-2, 2, (1, SIZE, SIZE, 3)).astype(np.float32)
OPTIONS = {"preprocess": "imagenet", "labels": "none", "resolution": SIZE}


@pytest.fixture(scope="module")
def timm() -> Any:
    try:
        import timm as found
    except Exception as error:
        pytest.skip(f"needs timm, which cannot be imported here: {error}")
    return found


def _shaken(model: Any) -> Any:
    """Evaluated, with batch-norms that do something."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.7, 1.5), (module.bias, -0.4, 0.6),
                (module.running_mean, -0.1, 0.1), (module.running_var, 0.5, 1.5),
            ):  # fmt: skip
                tensor.data.uniform_(low, high, generator=generator)
    return model.eval()


def _logits(path: Path) -> np.ndarray[Any, Any]:
    with open_model(path) as model:
        weights = {name: np.array(array) for name, array in model.weights().items()}
        return np.asarray(run(model.network, weights, X.astype(np.float64), np.float64).logits)


def _theirs(model: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return np.asarray(model(torch.tensor(X).permute(0, 3, 1, 2)))


def _agree(out: Path, model: Any) -> None:
    ours, theirs = _logits(out), _theirs(model)
    assert ours.shape == theirs.shape
    assert np.abs(theirs).max() > 1e-3
    assert np.abs(ours - theirs).max() <= 1e-4 * max(1.0, np.abs(theirs).max())


def safetensors(tensors: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """The file of float32 arrays, written by hand."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at, data = 0, []
    for name, array in tensors.items():
        content = array.astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + len(content)]
        }  # fmt: skip
        at += len(content)
        data.append(content)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data)


def _arrays(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


TIMM = ["mobilenetv2_035", "mobilenetv2_100", "mobilenetv2_110d", "efficientnet_lite0",
        "mnasnet_100", "spnasnet_100", "fbnetc_100", "mobilenetv1_100"]  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_timm_by_safetensors(name, timm, tmp_path):
    torch.manual_seed(0)
    model = _shaken(timm.create_model(name, num_classes=5))
    source, out = tmp_path / "model.safetensors", tmp_path / "out.npz"
    source.write_bytes(safetensors(_arrays(model)))
    options = dict(OPTIONS)
    if name.startswith("efficientnet_lite"):
        with pytest.raises(InputError, match=r"give the option padding"):
            convert(source, out, **options)
        options["padding"] = "symmetric"
    made = convert(source, out, **options)
    assert made.network.padding == "symmetric"
    _agree(out, model)


def test_timm_with_its_config(timm, tmp_path):
    """config.json says TensorFlow's padding, and with it the epsilon; and the preprocessing."""
    torch.manual_seed(0)
    model = _shaken(timm.create_model("tf_efficientnet_lite0", num_classes=3))
    config = {
        "architecture": "tf_efficientnet_lite0",
        "num_classes": 3,
        "pretrained_cfg": {
            "input_size": [3, SIZE, SIZE], "interpolation": "bicubic", "crop_pct": 0.875,
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        },
        "label_names": ["a", "b", "c"],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    source, out = tmp_path / "model.safetensors", tmp_path / "out.npz"
    source.write_bytes(safetensors(_arrays(model)))
    made = convert(source, out)
    spec = made.input_spec
    assert (spec.mean, spec.std) == ((127.5,) * 3, (127.5,) * 3)
    assert (spec.resample, spec.crop_fraction) == ("bicubic", 0.875)
    assert (made.network.padding, made.labels) == ("same", 3)
    _agree(out, model)


@pytest.fixture(scope="module")
def small(timm) -> Any:
    torch.manual_seed(0)
    return _shaken(timm.create_model("mobilenetv2_035", num_classes=4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(dtype, small, tmp_path):
    source, out = tmp_path / "model.pt", tmp_path / "out.npz"
    rounded = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor
               for name, tensor in small.state_dict().items()}  # fmt: skip
    torch.save(rounded, source)
    convert(source, out, **OPTIONS)
    wide = {name: tensor.float() for name, tensor in rounded.items()}
    before = small.state_dict()
    small.load_state_dict(wide)
    try:
        _agree(out, small)
    finally:
        small.load_state_dict(before)


WRAPPED = {
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
    "net": lambda state: {"net": {f"_orig_mod.module.{k}": v for k, v in state.items()}},
    "weights": lambda state: {"weights": {f"backbone.{k}": v for k, v in state.items()}},
    "ema": lambda state: {"ema": {f"anything.at.all.{k}": v for k, v in state.items()}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_and_prefixes(name, small, tmp_path):
    source, out = tmp_path / "model.pth", tmp_path / "out.npz"
    torch.save(WRAPPED[name](dict(small.state_dict())), source)
    convert(source, out, **OPTIONS)
    _agree(out, small)


def test_a_classifier_of_another_name_and_a_head_of_two(small, tmp_path):
    state = dict(small.state_dict())
    generator = torch.Generator().manual_seed(1)
    first = torch.nn.Linear(1280, 16)
    second = torch.nn.Linear(16, 3)
    for layer in (first, second):
        layer.weight.data.normal_(0, 0.1, generator=generator)
    for part in ("weight", "bias"):
        del state[f"classifier.{part}"]
        state[f"my_head.0.{part}"] = getattr(first, part).data
        state[f"my_head.3.{part}"] = getattr(second, part).data
    source, out = tmp_path / "model.pth", tmp_path / "out.npz"
    torch.save(state, source)
    with pytest.raises(InputError, match=r"give the option hidden \(what is between"):
        convert(source, out, **OPTIONS)
    made = convert(source, out, hidden="relu", **OPTIONS)
    assert any("its classifier is my_head.0, my_head.3, by its shape" in n for n in made.notes)
    with torch.no_grad():
        features = small.forward_features(torch.tensor(X).permute(0, 3, 1, 2)).mean((2, 3))
        due = second(torch.relu(first(features)))
    np.testing.assert_allclose(_logits(out), due, atol=1e-4)
    state["other.weight"] = torch.zeros(7, 1280)
    torch.save(state, source)
    with pytest.raises(CheckpointError, match=r"could each be the classifier; remove all but one"):
        convert(source, out, hidden="relu", **OPTIONS)


def test_squeeze_and_excitation_is_named(timm, tmp_path):
    model = timm.create_model("efficientnet_b0", num_classes=2)
    source = tmp_path / "model.safetensors"
    source.write_bytes(safetensors(_arrays(model)))
    with pytest.raises(UnsupportedError, match=r"squeeze-and-excitation, .* its gate mixes all"):
        convert(source, tmp_path / "out.npz", **OPTIONS)


def _transformers(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """timm's MobileNetV2 under the names of transformers."""
    names = {
        "conv_stem": "conv_stem.first_conv.convolution",
        "bn1": "conv_stem.first_conv.normalization",
        "conv_head": "conv_1x1.convolution",
        "bn2": "conv_1x1.normalization",
    }
    index = -1
    for stage, blocks in enumerate(model.blocks):
        for i in range(len(blocks)):
            inside = f"blocks.{stage}.{i}"
            if index < 0:
                parts = [("conv_dw", "bn1", "conv_3x3"), ("conv_pw", "bn2", "reduce_1x1")]
                to = "conv_stem"
            else:
                parts = [("conv_pw", "bn1", "expand_1x1"), ("conv_dw", "bn2", "conv_3x3"),
                         ("conv_pwl", "bn3", "reduce_1x1")]  # fmt: skip
                to = f"layer.{index}"
            for convolution, norm, part in parts:
                names[f"{inside}.{convolution}"] = f"{to}.{part}.convolution"
                names[f"{inside}.{norm}"] = f"{to}.{part}.normalization"
            index += 1
    made = {}
    for name, array in _arrays(model).items():
        layer, _, part = name.rpartition(".")
        to = f"mobilenet_v2.{names[layer]}" if layer in names else layer
        made[f"{to}.{part}"] = array
    return made


# What transformers' image processors do of it: resize both sides, and then cut out the centre.
PREPROCESSORS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (
        {"size": {"height": SIZE, "width": SIZE}, "do_center_crop": False, "resample": 3},
        ("bicubic", 1.0, "squash"),
    ),
    (
        {"size": {"height": 2 * SIZE, "width": 2 * SIZE}, "resample": 0},
        ("nearest", 0.5, "squash"),
    ),
    ({"size": {"shortest_edge": SIZE}}, ("bilinear", 1.0, "crop")),
]


def test_transformers(small, tmp_path):
    source, out = tmp_path / "model.safetensors", tmp_path / "out.npz"
    source.write_bytes(safetensors(_transformers(small)))
    config = {
        "model_type": "mobilenet_v2", "tf_padding": False, "layer_norm_eps": 1e-5,
        "architectures": ["MobileNetV2ForImageClassification"],
        "id2label": {"1": "b", "0": "a", "3": "d", "2": "c"},
    }  # fmt: skip
    preprocessor = {
        "size": {"shortest_edge": 73}, "crop_size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "rescale_factor": 1 / 255,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    made = convert(source, out)
    assert (made.network.padding, made.network.resolution) == ("symmetric", (SIZE, SIZE))
    assert made.input_spec.mean == (127.5,) * 3
    assert made.input_spec.crop_fraction == pytest.approx(SIZE / 73)
    with open_model(out) as model:
        assert list(model.labels or ()) == ["a", "b", "c", "d"]
    _agree(out, small)
    for said, expected in PREPROCESSORS:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps({**preprocessor, **said}))
        assert convert(source, out).input_spec[2:] == pytest.approx(expected), said
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json beside it is damaged"):
        convert(source, out)


@pytest.mark.filterwarnings("ignore")  # the exporter's own, about its parts
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_torch_onnx(heads, small, tmp_path):
    pytest.importorskip("onnxscript", reason="needs onnxscript, by which torch writes ONNX")
    layers: list[Any] = []
    for before, after in ((1280, 20), (20, 10))[: heads - 1]:
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU(), torch.nn.Dropout()]
    layers.append(torch.nn.Linear([1280, 20, 10][heads - 1], 3))
    model = torch.nn.Sequential(
        *[small.conv_stem, small.bn1, small.blocks, small.conv_head, small.bn2],
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        *layers,
    ).eval()
    source, out = tmp_path / "model.onnx", tmp_path / "out.npz"
    torch.onnx.export(model, (torch.zeros(1, 3, SIZE, SIZE),), source, verbose=False)
    options = {key: value for key, value in OPTIONS.items() if key != "resolution"}
    made = convert(source, out, **options)
    assert made.network.padding == "symmetric"
    _agree(out, model)


# Hostile safetensors


def _header(entries: dict[str, Any], data: bytes = bytes(64)) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def _entry(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


LIES = {
    "a header of 2**60 bytes": (struct.pack("<Q", 1 << 60)[:5] + bytes(3) + b"{", "not a known"),
    "a header beyond the file": (struct.pack("<Q", 5000) + b'{"a":1}', "is said to take 5000 of"),
    "a header that is no JSON": (struct.pack("<Q", 4) + b"{{{{" + bytes(8), "is no JSON"),
    "data beyond the file": (_header({"a": _entry([64], 0, 256)}), "describes 'a' wrongly"),
    "a shape of a petabyte": (_header({"a": _entry([1 << 47], 0, 64)}), "describes 'a' wrongly"),
    "a negative offset": (_header({"a": _entry([1], -4, 0)}), "describes 'a' wrongly"),
    "an unknown type": (_header({"a": {**_entry([1], 0, 4), "dtype": "F8"}}), "'a' wrongly"),
    "bytes that are shared": (
        _header({"a": _entry([4], 0, 16), "b": _entry([4], 8, 24)}),
        "'b' shares its bytes with another tensor",
    ),
    "an entry that is a list": (_header({"a": []}), "describes 'a' wrongly"),
}


@pytest.mark.parametrize("name", LIES)
def test_hostile_safetensors(name, tmp_path):
    content, message = LIES[name]
    source = tmp_path / "model.safetensors"
    source.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        convert(source, tmp_path / "out.npz", **OPTIONS)
