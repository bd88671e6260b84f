"""PyTorch files of both formats, written opcode by opcode, read without PyTorch."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import (
    ORDERED_DICT,
    State,
    View,
    dictionary,
    legacy_file,
    lite_state,
    parameter,
    program,
    state_file,
    tensor,
    text,
    torchvision_state,
    views_of,
    zip_file,
)

from mnv2_engine import Engine
from mnv2_engine.convert import Conversion, convert
from mnv2_engine.errors import CheckpointError, InputError, UnsupportedError
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2

NETWORK = mobilenet_v2(0.1, 32, 5, "symmetric", divisor=4)
OPTIONS = {"preprocess": "imagenet", "labels": "none", "resolution": 32}

each_container = pytest.mark.parametrize("container", ["zip", "legacy"])


@pytest.fixture(scope="module")
def state() -> State:
    return torchvision_state(NETWORK)


@pytest.fixture
def converted(tmp_path: Path) -> Any:
    """`converted(content, **options)`: what came of a file's bytes, and its canonical weights."""

    def run(content: bytes, **options: Any) -> tuple[Conversion, dict[str, Any]]:
        source, out = tmp_path / "source.pth", tmp_path / "out.npz"
        source.write_bytes(content)
        made = convert(source, out, **{**OPTIONS, **options})
        with open_model(out) as opened:
            return made, opened.weights()

    return run


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """To a rounding: the expectation is computed in extended precision."""
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], 2e-7, 1e-9, err_msg=name)


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@each_container
def test_torchvision(container, state, converted):
    made, weights = converted(state_file(state.arrays, container))
    assert made.network == NETWORK
    assert_close(weights, state.weights)


@each_container
def test_efficientnet_lite(container, converted):
    network = efficientnet_lite(0, classes=3)
    lite = lite_state(network)
    made, weights = converted(state_file(lite.arrays, container), resolution=None)
    assert made.network == network
    assert made.notes == ("resolution 224, which is the family's own: the checkpoint states none",)
    assert_close(weights, lite.weights)


def test_the_names_say_the_padding(state, converted):
    made, _ = converted(state_file(state.arrays), padding="symmetric")
    assert made.network == NETWORK
    with pytest.raises(InputError, match="padding 'same' contradicts the checkpoint"):
        converted(state_file(state.arrays), padding="same")


@each_container
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions(dtype, container, state, converted):
    """They become float32 first, so that a file of these float32 values gives the same bits."""
    arrays, single = dict(state.arrays), dict(state.arrays)
    for name, array in state.arrays.items():
        if array.dtype == np.float32:
            arrays[name] = array.astype(dtype)
            single[name] = arrays[name].astype(np.float32)
    _, found = converted(state_file(arrays, container))
    _, expected = converted(state_file(single))
    assert_equal(found, expected)


def test_bfloat16(state, converted):
    """The upper halves of float32, an element type that numpy lacks."""
    entries, storages, single = {}, {}, dict(state.arrays)
    for name, view in views_of(state.arrays).items():
        storages[view.key] = state.arrays[name].tobytes()
        if view.storage == "FloatStorage":
            halves = state.arrays[name].view(np.uint32) >> 16
            storages[view.key] = halves.astype("<u2").tobytes()
            single[name] = (halves << 16).view(np.float32)
            view = view._replace(storage="BFloat16Storage")
        entries[name] = tensor(view)
    _, found = converted(zip_file(program(dictionary(entries)), storages))
    _, expected = converted(state_file(single))
    assert_equal(found, expected)


def test_big_endian(state, converted):
    """As torch.save writes on such a machine, and says."""
    entries = {name: tensor(view) for name, view in views_of(state.arrays).items()}
    storages = {
        view.key: state.arrays[name].astype(state.arrays[name].dtype.newbyteorder(">")).tobytes()
        for name, view in views_of(state.arrays).items()
    }
    content = zip_file(program(dictionary(entries)), storages, order="big")
    _, found = converted(content)
    assert_close(found, state.weights)


@each_container
def test_views_of_one_storage(container, state, converted):
    """Tensors side by side in one storage, one of them with its axes in another order."""
    entries: dict[str, bytes] = {}
    flat: list[Any] = []
    offset = 0
    total = sum(array.size for array in state.arrays.values() if array.dtype == np.float32)
    for name, array in state.arrays.items():
        if array.dtype != np.float32:
            continue
        strides = tuple(stride // 4 for stride in array.strides)
        stored = array
        if array.ndim == 4:  # channels last, as memory_format=torch.channels_last leaves it
            stored = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
            strides = tuple(stride // 4 for stride in stored.transpose(0, 3, 1, 2).strides)
        view = View("FloatStorage", "0", total, offset, array.shape, strides)
        entries[name] = tensor(view, container == "legacy")
        flat.append(stored.reshape(-1))
        offset += array.size
    content = np.concatenate(flat).tobytes()
    pickled = program(dictionary(entries))
    if container == "legacy":
        made = legacy_file(pickled, {"0": (total, content)})
    else:
        made = zip_file(pickled, {"0": content}, folder="any name")
    _, found = converted(made)
    assert_close(found, state.weights)


def _entries(state: State) -> tuple[dict[str, bytes], dict[str, bytes]]:
    views = views_of(state.arrays)
    entries = {name: tensor(view) for name, view in views.items()}
    return entries, {view.key: state.arrays[name].tobytes() for name, view in views.items()}


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_wrapped_by_a_training_script(wrapper, state, converted):
    entries, storages = _entries(state)
    inside = dictionary({f"module.{name}": value for name, value in entries.items()})
    whole = b"}(" + text("epoch") + b"K\x07" + text(wrapper) + inside + b"u"
    _, found = converted(zip_file(program(whole), storages))
    assert_close(found, state.weights)


def test_parameters(state, converted):
    """nn.Parameter objects among the tensors."""
    views = views_of(state.arrays)
    _, storages = _entries(state)
    entries = {name: parameter(view) for name, view in views.items()}
    _, found = converted(zip_file(program(dictionary(entries)), storages))
    assert_close(found, state.weights)


def _without(state: State, name: str) -> dict[str, Any]:
    return {key: value for key, value in state.arrays.items() if key != name}


def test_missing_and_unknown_names_are_listed(state, converted):
    arrays = _without(state, "features.3.conv.0.1.running_var")
    arrays["features.3.conv.0.1.running_bar"] = np.ones(4, np.float32)
    with pytest.raises(CheckpointError) as error:
        converted(state_file(arrays))
    assert "lacks features.3.conv.0.1.running_var and" in str(error.value)
    assert "unknown features.3.conv.0.1.running_bar;" in str(error.value)


def test_names_of_no_known_project(converted):
    arrays = {"conv1.weight": np.ones((64, 3, 7, 7), np.float32)}
    with pytest.raises(CheckpointError, match=r"its names \(conv1.weight\) .* torchvision has "):
        converted(state_file(arrays))


def test_squeeze_and_excitation(converted):
    lite = lite_state(efficientnet_lite(0, classes=3)).arrays
    lite["_blocks.0._se_reduce.weight"] = np.ones((8, 32, 1, 1), np.float32)
    with pytest.raises(UnsupportedError, match=r"_se_reduce.weight: squeeze-and-excitation"):
        converted(state_file(lite))


def test_quantised_weights(state, converted):
    arrays = {**state.arrays, "classifier.1.weight": np.ones((5, 1280), np.int64)}
    with pytest.raises(CheckpointError, match=r"classifier.1.weight holds i8 .* dequantise"):
        converted(state_file(arrays))


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_a_variance_that_is_none(value, state, converted):
    variance = state.arrays["features.0.1.running_var"].copy()
    variance[1] = value
    with pytest.raises(CheckpointError, match=r"features.0.1: .*running_var is negative or NaN"):
        converted(state_file({**state.arrays, "features.0.1.running_var": variance}))


def test_weights_that_are_not_finite(state, converted, tmp_path):
    weight = state.arrays["features.0.0.weight"].copy()
    weight[0, 0, 0, 0] = np.inf
    with pytest.raises(CheckpointError, match=r"stem.weight holds NaN, infinity"):
        converted(state_file({**state.arrays, "features.0.0.weight": weight}))
    assert [path.name for path in tmp_path.iterdir()] == ["source.pth"]


def test_a_whole_model_is_not_loaded(state, converted):
    """torch.save(model): the class is named first, which is as far as the reading goes."""
    module = b"ctorchvision.models.mobilenetv2\nMobileNetV2\n)\x81."
    with pytest.raises(CheckpointError) as error:
        converted(zip_file(b"\x80\x02" + module, {}))
    assert "asks for torchvision.models.mobilenetv2.MobileNetV2, which was not executed" in str(
        error.value
    )
    assert "torch.save(model.state_dict(), FILE)" in str(error.value)


def test_torchscript(state, converted):
    entries, storages = _entries(state)
    made = io.BytesIO(zip_file(program(dictionary(entries)), storages))
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr("archive/constants.pkl", ORDERED_DICT)
    with pytest.raises(CheckpointError, match="TorchScript archive, which is a program"):
        converted(made.getvalue())


def test_a_shared_storage_read_by_two_names(state, converted):
    """A tensor that is tied to another occurs once in the file."""
    entries, storages = _entries(state)
    views = views_of(state.arrays)
    bias, mean = "features.0.1.bias", "features.0.1.running_mean"
    entries[mean] = tensor(views[bias])
    del storages[views[mean].key]
    _, found = converted(zip_file(program(dictionary(entries)), storages))
    same = {**state.arrays, mean: state.arrays[bias]}
    assert_equal(found, converted(state_file(same))[1])


def test_torch_is_not_imported(state, tmp_path):
    source = tmp_path / "source.pth"
    source.write_bytes(state_file(state.arrays, "legacy"))
    code = (
        "import sys; from mnv2_engine.convert import convert; "
        f"convert(sys.argv[1], sys.argv[2], **{OPTIONS!r}); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'tflite', 'PIL')))"
    )
    subprocess.run([sys.executable, "-c", code, source, tmp_path / "out.npz"], check=True)


def test_the_synthetic_checkpoint_agrees_with_onnxruntime(shared, tmp_path):
    """Saved by PyTorch itself; the ONNX file is the same network as PyTorch exported it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "out.npz"
    source = shared / "checkpoints" / "mobilenet_v2_0.35_96_synthetic_torchvision_names.pt"
    options = {"preprocess": "imagenet", "labels": "imagenet", "resolution": 96}
    made = convert(source, out, **options)
    assert made.network == mobilenet_v2(0.35, 96, 1000, "symmetric")
    peer = shared / "peers" / "mobilenet_v2_0.35_96_synthetic_fp32.onnx"
    session = onnxruntime.InferenceSession(peer.read_bytes(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(3)
    x = random.uniform(-2, 2, (3, 96, 96, 3)).astype(np.float32)
    (entry,) = session.get_inputs()
    channels_first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    theirs = np.concatenate(
        [session.run(None, {entry.name: each[np.newaxis]})[0] for each in channels_first]
    )
    with Engine.load(out) as engine:
        ours = engine.logits(x)
    assert np.abs(ours - theirs).max() <= 1e-4


def test_a_count_that_contradicts_the_pickle(state, converted):
    content = bytearray(state_file(state.arrays, "legacy"))
    count = struct.pack("<q", state.arrays["classifier.1.weight"].size)
    at = content.rindex(count)
    content[at : at + 8] = struct.pack("<q", 1)
    with pytest.raises(CheckpointError, match=r"storage '\d+' has 1 elements: expected 6400"):
        converted(bytes(content))
