"""Detectors as TensorFlow Lite: LiteRT gives the codes and scores of the oracle."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector

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
