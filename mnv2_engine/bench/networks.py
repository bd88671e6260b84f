"""What is run: a model file, or a published network with seeded weights; speed does not depend on
them. For the same reason, where int8 is asked for of a float one, it is quantised on noise."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..model.input_spec import PRESETS
from ..model.modelfile import ModelFile, open_model, write_model
from ..network.detection import ANCHORS
from ..network.families import efficientnet_lite, mobilenet_v2
from ..network.layer import Network
from ..network.ssdlite import ssd_anchors, ssdlite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLE = "mobilenet_v2_1.0_224"
CALIBRATION_IMAGES = 2


def named_network(name: str) -> Network | None:
    """The network that `Network.name` calls so, or None."""
    if match := re.fullmatch(r"mobilenet_v2_(\d+\.\d+)_(\d+)", name):
        width = float(match[1])
        return mobilenet_v2(width, int(match[2]), divisor=4 if width == 0.1 else 8)
    if match := re.fullmatch(r"efficientnet_lite(\d)_(\d+)", name):
        return efficientnet_lite(int(match[1]), int(match[2]))
    if match := re.fullmatch(r"ssdlite_mobilenet_v2_(\d+\.\d+)_(\d+)", name):
        return ssdlite(float(match[1]), int(match[2]))
    return None


def seeded_weights(network: Network) -> dict[str, NDArray[np.float32]]:
    """Weights of He's scale: values neither vanish into denormals nor overflow."""
    import numpy as np

    random = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for layer in network.weighted:
        fan_in = int(np.prod(layer.weight_shape[1:]))
        weight = random.normal(0.0, np.sqrt(2 / fan_in), layer.weight_shape)
        weights[f"{layer.name}.weight"] = weight.astype(np.float32)
        weights[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)
    if network.detection is not None:
        weights[ANCHORS] = np.array(ssd_anchors(network), np.float32)
    return weights


def write_seeded(network: Network, path: str) -> None:
    """A float32 model file of `network` with seeded weights."""
    provenance = {"source": "seeded random weights"}
    write_model(path, network, seeded_weights(network), PRESETS["tf"], None, provenance)


def model_file(model: str, folder: str, dtype: str | None = None) -> str:
    """The path `model`; or the network of that name, written to `folder` with seeded weights. If
    a `dtype` is given, see `rewritten`. Raises InputError for neither a file nor a name."""
    path = model
    if not os.path.exists(model):
        network = named_network(model)
        if network is None:
            raise InputError(
                f"{model}: no such file, nor a network's name such as {EXAMPLE}, which would get "
                "seeded weights"
            )
        path = os.path.join(folder, f"{network.name}.npz")
        write_seeded(network, path)
    if dtype is None:
        return path
    with open_model(path) as opened:
        return rewritten(opened, dtype, folder)


def rewritten(model: ModelFile, dtype: str, folder: str) -> str:
    """The path of the model file, or of one in `folder` with the same weights as `dtype`: rounded,
    or quantised on noise. From int8 there is no way back: then the weights are seeded ones."""
    network = model.network
    if model.dtype == dtype:
        return model.path
    if model.dtype == "int8":
        seeded = os.path.join(folder, f"{network.name}_seeded.npz")
        write_seeded(network, seeded)
        return model_file(seeded, folder, dtype)
    path = os.path.join(folder, f"{network.name}_{dtype}.npz")
    if dtype == "int8":
        import numpy as np

        from ..quantize import quantize

        random = np.random.default_rng(0)
        shape = (CALIBRATION_IMAGES, *network.resolution, 3)
        quantize(model.path, path, random.integers(0, 256, shape, np.uint8))
    else:
        write_model(path, network, model.weights(), model.input_spec, None, {}, dtype=dtype)
    return path
