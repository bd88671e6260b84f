"""Detectors as TensorFlow Lite: LiteRT gives the codes and scores of the oracle."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector
from int8_network import pixels, random_int8

from mnv2_engine.executors import integer
from mnv2_engine.executors.reference import run
from mnv2_engine.export import export
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model

pytest.importorskip("tflite", reason="needs tflite, the extra tflite")

# Prints the first anchor and what else a program needs.
PROGRAM_INCLUDED = """
#include <stdio.h>
#include "mnv2.h"
extern const mnv2_plan found_plan;
extern const mnv2_detection found_detection;
extern const int64_t found_anchors;
extern const uint64_t found_weights[];
int main(void) {
    const mnv2_detection *how = &found_detection;
    const float *anchors = (const float *)((const char *)found_weights + found_anchors);
    printf("%.9g %d %d %d %d %g %g %d %d", anchors[0], how->anchors, how->columns,
           how->has_background, how->is_softmax, how->coding[0], how->score_threshold,
           found_plan.predictor_count, found_plan.map_count);
    return 0;
}
"""
PROGRAM = PROGRAM_INCLUDED.replace(
    "extern const uint64_t found_weights[];", "static char found_weights[1 << 20];"
).replace(
    "int main(void) {",
    """int main(int count, char **arguments) {
    FILE *file = fopen(arguments[count - 1], "rb");
    if (!file || !fread(found_weights, 1, sizeof found_weights, file)) return 1;""",
)

NETWORK = small_detector()
WEIGHTS = seeded_weights(NETWORK)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    out = tmp_path / "detector.npz"
    write_model(out, NETWORK, WEIGHTS, PRESETS["tf"], None, {})
    return out


def test_litert_gives_the_oracles_numbers(model: Path, tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs LiteRT")
    out = tmp_path / "detector.tflite"
    made = export(model, out)
    assert made.boxes == (1, len(WEIGHTS["anchors"]), 4)
    assert "boxes   float32" in str(made)
    x = np.random.default_rng(0).uniform(-1, 1, (1, *NETWORK.resolution, 3)).astype(np.float32)
    theirs: Any = interpreter.Interpreter(model_path=str(out))
    theirs.allocate_tensors()
    theirs.set_tensor(theirs.get_input_details()[0]["index"], x)
    theirs.invoke()
    found = {each["name"]: theirs.get_tensor(each["index"]) for each in theirs.get_output_details()}
    due = run(NETWORK, WEIGHTS, x.astype(np.float64), np.float64)
    for name, truth in (("boxes", due.boxes), ("scores", due.scores)):
        assert truth is not None
        assert found[name].shape == truth.shape
        assert np.abs(found[name] - truth).max() < 1e-4 * np.abs(truth).max()


def test_litert_gives_the_integers_of_an_int8_detector(tmp_path: Path) -> None:
    """Codes and scores within a few steps, as LiteRT rounds in other places."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="needs LiteRT")
    model, out = tmp_path / "int8.npz", tmp_path / "int8.tflite"
    weights, quantization = random_int8(NETWORK)
    write_model(model, NETWORK, weights, PRESETS["tf"], None, {}, quantization)
    made = export(model, out)
    assert (made.weights, made.input_dtype) == ("int8", "uint8")
    x = pixels(NETWORK)[np.newaxis]
    theirs: Any = interpreter.Interpreter(
        model_path=str(out),
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    theirs.allocate_tensors()
    theirs.set_tensor(theirs.get_input_details()[0]["index"], x)
    theirs.invoke()
    found = {each["name"]: theirs.get_tensor(each["index"]) for each in theirs.get_output_details()}
    due = integer.run(NETWORK, weights, quantization, PRESETS["tf"], x)
    detection = NETWORK.detection
    assert detection is not None
    for name, truth in (("boxes", due.boxes), ("scores", due.scores)):
        assert truth is not None
        steps, at = [], 0
        for each in detection.maps:
            layer = each.boxes if name == "boxes" else each.scores
            scale = weights[f"{layer}.values"][0].reshape(each.anchors, -1)
            layers = {layer.name: layer for layer in NETWORK.layers}
            height, width = layers[layer].out_size
            count = height * width * each.anchors
            apart = (found[name] - truth)[0, at : at + count].reshape(-1, *scale.shape)
            steps.append(np.abs(apart / scale).ravel())
            at += count
        assert at == truth.shape[1]
        every = np.concatenate(steps)
        assert every.max() < 12  # of 255, through twenty layers of random weights
        assert every.mean() < 0.6


@pytest.mark.parametrize("include_weights", [False, True])
def test_c_has_plan_anchors_and_thresholds(
    model: Path, tmp_path: Path, include_weights: bool
) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler")
    out = tmp_path / "found.c"
    made = export(model, out, include_weights=include_weights)
    assert (made.boxes, made.output) == ((len(WEIGHTS["anchors"]), 4), (len(WEIGHTS["anchors"]), 3))
    main = tmp_path / "main.c"
    main.write_text(PROGRAM_INCLUDED if include_weights else PROGRAM)
    kernels = Path(__file__).parents[1] / "kernels"
    program = tmp_path / "program"
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", kernels, "-o", program]
    subprocess.run([compiler, *options, main, out], check=True, timeout=60)
    said = subprocess.run([program, model], check=True, capture_output=True, text=True).stdout
    anchor, *numbers = said.split()
    assert float(anchor) == pytest.approx(float(WEIGHTS["anchors"][0, 0]))
    assert numbers == [str(len(WEIGHTS["anchors"])), "3", "1", "0", "10", "0.5", "6", "3"]
