"""Other engines behind one class: what they are given, and the logits that they are asked for."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from conftest import small_network

from mnv2_engine.errors import InputError, MissingExtraError, UnsupportedError
from mnv2_engine.peers import PEERS, Peer, peer_and_file
from mnv2_engine.peers.session import Input, chosen_outputs, layout, levels

NETWORK = small_network()
FLOAT32, UINT8, INT8 = map(np.dtype, ("float32", "uint8", "int8"))


def installed(peer: str) -> None:
    pytest.importorskip(PEERS[peer].module.split(".")[0], reason=f"{peer} (the extra bench)")


# --- what a file is given -----------------------------------------------------------------


def test_levels_are_what_the_quantisation_of_the_input_says():
    image = np.array([-1, 0, 0.5, 1, 2], np.float32)
    found = levels(image, INT8, (1 / 128, -1))
    assert found.dtype == np.int8
    assert found.tolist() == [-128, -1, 63, 127, 127]
    assert levels(image, UINT8, (1 / 128, 127)).tolist() == [0, 127, 191, 255, 255]


def test_an_image_becomes_what_the_file_takes():
    image = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 12
    pixels = np.arange(250, 262, dtype=np.int64).clip(0, 255).astype(np.uint8).reshape(2, 2, 3)
    assert Input(FLOAT32, False, (2, 2)).prepared(image).tolist() == [image.tolist()]
    planar = Input(FLOAT32, True, (2, 2)).prepared(image[np.newaxis])
    assert planar.tolist() == [np.moveaxis(image, 2, 0).tolist()]
    assert Input(UINT8, False, (2, 2)).prepared(pixels).tolist() == [pixels.tolist()]
    signed = Input(INT8, False, (2, 2)).prepared(pixels)
    assert signed.tolist() == [(pixels.astype(int) - 128).tolist()]
    assert Input(INT8, False, (2, 2), (0.5, 3)).prepared(image).dtype == np.int8


@pytest.mark.parametrize(
    ("given", "image", "message"),
    [
        (Input(FLOAT32, False, (2, 2)), np.zeros((2, 3, 3), np.float32), r"takes \(2, 2, 3\)"),
        (Input(FLOAT32, False, (2, 2)), np.zeros((2, 2, 3)), "normalised float32 or uint8"),
        (Input(FLOAT32, False, (2, 2)), np.zeros((2, 2, 3), np.uint8), "normalise them"),
        (Input(UINT8, False, (2, 2)), np.zeros((2, 2, 3), np.float32), "give uint8 pixels"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(given, image, message):
    with pytest.raises(InputError, match=message):
        given.prepared(image)


@pytest.mark.parametrize(
    ("dtype", "quantization", "as_pixels"),
    [
        (FLOAT32, None, False),
        (UINT8, None, True),
        (UINT8, (1 / 127.5, 127), True),  # half a step from the pixels
        (INT8, (1 / 127.5, -1), True),
        (INT8, (1 / 127.5, 0), True),
        (UINT8, (1 / 128, 128), False),  # another range
        (INT8, (1 / 127.5, 1), False),
    ],
)
def test_pixels_are_not_rounded_once_more(dtype, quantization, as_pixels):
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = Input(dtype, False, (2, 2), quantization).suited(pixels, [127.5] * 3, [127.5] * 3)
    if as_pixels:
        assert found is pixels
    else:
        np.testing.assert_allclose(found, pixels / 127.5 - 1, atol=1e-6)
        assert found.dtype == np.float32


def test_the_layout_of_an_input():
    assert layout((1, 3, 8, 9), None, "f") == (True, (8, 9))
    assert layout((None, 8, 9, 3), (8, 9), "f") == (False, (8, 9))
    assert layout((1, None, None, 3), (5, 6), "f") == (False, (5, 6))
    with pytest.raises(InputError, match="f: it takes images of 8×9, not 9×9"):
        layout((1, 3, 8, 9), (9, 9), "f")
    with pytest.raises(InputError, match="leaves the image's size open"):
        layout((1, 3, None, 9), None, "f")
    with pytest.raises(UnsupportedError, match=r"shape \(1, 1, \?, 9\)"):
        layout((1, 1, None, 9), None, "f")
    assert chosen_outputs(["features", "logits"]) == [1]
    assert chosen_outputs(["scores", "boxes"]) == [1, 0]
    assert chosen_outputs(["boxes", "b"]) == [0]


# --- who is asked -------------------------------------------------------------------------


def test_a_peer_and_its_file():
    assert peer_and_file("litert:a:b.tflite") == (PEERS["litert"], "a:b.tflite")
    assert peer_and_file("openvino") == (PEERS["openvino"], "")
    with pytest.raises(InputError, match="'tensorrt': expected one of the peers litert, onnx"):
        peer_and_file("tensorrt:x")


def test_an_absent_peer_names_the_extra():
    absent = Peer("absent", "no-such-package", "no_such_module", (".x",), "litert:LiteRT")
    for ask in (absent.imported, absent.version, lambda: absent.load("file.x")):
        with pytest.raises(MissingExtraError, match=r'no-such-package.*"mnv2-engine\[bench\]"'):
            ask()


@pytest.mark.parametrize("peer", ["litert", "onnxruntime", "openvino"])
def test_files_that_cannot_be_run_are_refused(peer, tmp_path):
    installed(peer)
    with pytest.raises(InputError, match=f"no such file; {peer} reads"):
        PEERS[peer].load(str(tmp_path / "absent"))
    broken = tmp_path / f"broken{PEERS[peer].suffixes[0]}"
    broken.write_bytes(b"not a network, but some bytes")
    with pytest.raises(InputError, match=f"{peer} cannot run this file: "):
        PEERS[peer].load(str(broken), as_is=True)


def test_asking_for_the_table_imports_nothing_of_a_peer():
    script = (
        "import sys, mnv2_engine.peers\n"
        "print([m for m in ('onnxruntime', 'openvino', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# --- their logits -------------------------------------------------------------------------


COLOURS = np.diag([1.0, 2.0, 3.0]).astype(np.float32)


def onnx_file(path, softmax: bool = False, weight=COLOURS, size: int = 4) -> str:
    """An .onnx file of the mean of each colour times `weight`, (3, classes); and its softmax."""
    helper = pytest.importorskip("onnx.helper", reason="onnx (the extra bench)")
    from onnx import numpy_helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["features"]),
        helper.make_node("MatMul", ["features", "weight"], ["scores"]),
    ]
    end = "scores"
    if softmax:
        nodes += [
            helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
            helper.make_node("Identity", ["shares"], ["end"]),
        ]
        end = "end"
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", 1, ["N", 3, size, size])],
        [helper.make_tensor_value_info(end, 1, ["N", weight.shape[1]])],
        [numpy_helper.from_array(weight, "weight")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return str(path)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("peer", ["onnxruntime", "openvino"])
def test_a_softmax_at_the_end_is_left_out(peer, softmax, tmp_path):
    installed(peer)
    path = onnx_file(tmp_path / "colours.onnx", softmax)
    image = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
    scores = image.mean((0, 1)) * [1, 2, 3]
    session = PEERS[peer].load(path)
    assert session.classes == 3
    np.testing.assert_allclose(session.run(image), scores, atol=1e-6)
    np.testing.assert_allclose(session.run(image * 2), scores * 2, atol=1e-6)  # bound anew
    assert ("without its softmax" in session.notes) == softmax
    shares = np.exp(scores) / np.exp(scores).sum()
    found = PEERS[peer].load(path, as_is=True).run(image)
    np.testing.assert_allclose(found, shares if softmax else scores, atol=1e-6)


def test_litert_gives_the_logits_of_a_quantised_file(shared):
    """Those that were recorded with the photographs, to a thousandth of a step."""
    installed("litert")
    pytest.importorskip("tflite")
    stored = np.load(shared / "images" / "references.npz")
    name = "litert_tf2_mobilenet_v2_1.0_224_ptq_xnn"
    scale, zero_point = float(stored[f"{name}_scale"]), int(stored[f"{name}_zero_point"])
    session = PEERS["litert"].load(f"{shared}/checkpoints/tf2_mobilenet_v2_1.0_224_ptq.tflite")
    pixels = stored["pixels"][0]
    logits = session.run(session.input.suited(pixels, [127.5] * 3, [127.5] * 3))
    steps = np.abs(logits / scale - (stored[name][0].astype(int) - zero_point))
    # Its kernels are chosen by the CPU and differ among themselves.
    assert steps.mean() < 2
    assert logits.argmax() == stored[name][0].argmax()


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="needs onnx")
@pytest.mark.parametrize("peer", ["litert", "onnxruntime", "openvino"])
def test_peers_answer_as_float32_does(peer, shared):
    installed(peer)
    stored = np.load(shared / "images" / "references.npz")
    path = f"{shared}/peers/mobilenet_v2_1.0_224_tfslim_fp32{PEERS[peer].suffixes[0]}"
    session = PEERS[peer].load(path, threads=2)
    image = session.input.suited(stored["pixels"][0], [127.5] * 3, [127.5] * 3)
    np.testing.assert_allclose(session.run(image), stored["tfslim_fp32"][0], atol=1e-3)
