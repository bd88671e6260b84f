"""SavedModels, frozen graphs and weights that TensorFlow itself wrote answer as TensorFlow does.

Needs the extra `test-tf` (TensorFlow and tf_keras, which is Keras 2). TensorFlow runs in a process
of its own, once: Keras 3 on TensorFlow, then Keras 2. What was measured is in docs/convert.md.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine.convert import convert
from mnv2_engine.errors import CheckpointError
from mnv2_engine.executors.reference import run
from mnv2_engine.model.modelfile import open_model

for needed in ("tensorflow", "tensorboard", "h5py"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}, of the extra test-tf", allow_module_level=True)

SIZE = 64
OPTIONS: dict[str, Any] = {"preprocess": "tf", "labels": "none"}
WEIGHTS = {**OPTIONS, "resolution": SIZE, "hidden": "relu"}

WRITE = """
import sys
import numpy as np, tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
out, size, is_second = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "keras2"
keras = tf.keras
random = np.random.default_rng(3)
base = keras.applications.MobileNetV2((size, size, 3), 0.35, include_top=False, weights=None)
for layer in base.layers:
    if layer.__class__.__name__ == "BatchNormalization":
        count = layer.get_weights()[0].shape
        layer.set_weights([random.uniform(0.7, 1.5, count), random.normal(0, 0.4, count),
                           random.normal(0, 0.1, count), random.uniform(0.08, 0.3, count)])
model = keras.Sequential([
    base,
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dropout(0.2),
    keras.layers.Dense(10, activation="relu", kernel_initializer="he_normal"),
    keras.layers.Dense(5, activation="softmax", kernel_initializer="he_normal"),
])
model.build((None, size, size, 3))
x = random.uniform(-1, 1, (2, size, size, 3)).astype("f4")
x[1] = x[1] / 4 - 0.7
np.savez(f"{out}/answer.npz", x=x, y=model.predict(x, verbose=0))
if is_second:
    model.save(f"{out}/saved", save_format="tf")
    model.save_weights(f"{out}/weights.h5")
else:
    model.export(f"{out}/saved", verbose=False)
model.save_weights(f"{out}/w.weights.h5")
pictures = tf.TensorSpec((None, size, size, 3))
function = tf.function(lambda x: model(x)).get_concrete_function(pictures)
graph = convert_variables_to_constants_v2(function).graph.as_graph_def()
tf.io.write_graph(graph, out, "frozen.pb", as_text=False)
"""


@pytest.fixture(scope="module", params=["keras3", "keras2"])
def written(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
    if request.param == "keras2" and importlib.util.find_spec("tf_keras") is None:
        pytest.skip("needs tf_keras, of the extra test-tf")
    folder = Path(tmp_path_factory.mktemp(request.param))
    second = {"TF_USE_LEGACY_KERAS": "1"} if request.param == "keras2" else {}
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "",
        **second,
    }
    subprocess.run(
        [sys.executable, "-c", WRITE, str(folder), str(SIZE), request.param],
        env=environment, check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    return folder


@pytest.mark.parametrize("name", ["saved", "frozen.pb", "w.weights.h5", "weights.h5"])
def test_answers_are_tensorflows(name, written, tmp_path):
    source = written / name
    if not source.exists():
        pytest.skip("a form of Keras 2 alone")
    made = convert(source, tmp_path / "out.npz", **(WEIGHTS if "weights" in name else OPTIONS))
    assert made.name == f"mobilenet_v2_0.35_{SIZE}"
    with np.load(written / "answer.npz") as stored, open_model(tmp_path / "out.npz") as model:
        weights = {key: np.array(value) for key, value in model.weights().items()}
        logits = run(made.network, weights, stored["x"].astype(np.float64), np.float64).logits
        raised = np.exp(logits - logits.max(1, keepdims=True))
        due = stored["y"]
        assert np.ptp(due[:, 0]) > 1e-4  # the two pictures differ
        np.testing.assert_allclose(raised / raised.sum(1, keepdims=True), due, atol=1e-5)


def test_a_saved_model_without_its_variables(written, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "saved_model.pb").write_bytes((written / "saved" / "saved_model.pb").read_bytes())
    with pytest.raises(CheckpointError, match=r"variables/variables\.index.*copy the whole folder"):
        convert(alone, tmp_path / "out.npz", **OPTIONS)
