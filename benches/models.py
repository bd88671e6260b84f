"""Networks for the benches: seeded ones by name, with any weights, and as files for peers.

    python benches/models.py NAME OUT.npz

NAME is that of a published network, such as `mobilenet_v2_1.4_224` or `efficientnet_lite0_224`,
which gets seeded weights: speed does not depend on them. For the same reason, where a bench is
asked for `--weights int8`, it quantises on images of noise.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np

from mnv2_engine.architecture import Architecture, efficientnet_lite, layers, mobilenet_v2
from mnv2_engine.export import export
from mnv2_engine.input_spec import PRESETS
from mnv2_engine.modelfile import ModelFile, open_model, write_model
from mnv2_engine.packing import DTYPES
from mnv2_engine.quantize import quantize

Array = np.ndarray[Any, Any]

CALIBRATION_IMAGES = 2


def seeded_weights(network: Architecture) -> dict[str, Array]:
    """Weights of He's scale: values neither vanish into denormals nor overflow."""
    random = np.random.default_rng(0)
    weights = {}
    for layer in layers(network):
        fan_in = int(np.prod(layer.weight_shape[1:]))
        weight = random.normal(0.0, np.sqrt(2 / fan_in), layer.weight_shape)
        weights[f"{layer.name}.weight"] = weight.astype(np.float32)
        weights[f"{layer.name}.bias"] = np.zeros(layer.out_channels, np.float32)
    return weights


def named_network(name: str) -> Architecture | None:
    """The network that `Architecture.name` calls so, or None."""
    if match := re.fullmatch(r"mobilenet_v2_(\d+\.\d+)_(\d+)", name):
        width = float(match[1])
        return mobilenet_v2(width, int(match[2]), divisor=4 if width == 0.1 else 8)
    if match := re.fullmatch(r"efficientnet_lite(\d)_(\d+)", name):
        return efficientnet_lite(int(match[1]), int(match[2]))
    return None


def write_seeded(network: Architecture, path: str) -> None:
    provenance = {"source": "seeded random weights"}
    write_model(path, network, seeded_weights(network), PRESETS["tf"], None, provenance)


def add_model(parser: argparse.ArgumentParser, **model: Any) -> None:
    """The arguments that say which network a bench runs."""
    parser.add_argument("model", **model)
    parser.add_argument("--weights", choices=DTYPES, help="run MODEL with such weights")


def model_file(model: str, folder: str, dtype: str | None = None) -> str:
    """The path `model`; or the network of that name, written to `folder` with seeded weights. If
    a `dtype` is given, see `rewritten`."""
    path = model
    if not Path(model).exists():
        network = named_network(model)
        if network is None:
            raise SystemExit(
                f"{model}: no such file, nor a network's name such as mobilenet_v2_1.4_224"
            )
        path = str(Path(folder) / f"{network.name}.npz")
        write_seeded(network, path)
    if dtype is None:
        return path
    with open_model(path) as opened:
        return rewritten(opened, dtype, folder)


def rewritten(model: ModelFile, dtype: str, folder: str) -> str:
    """The path of the model file, or of one in `folder` with the same weights as `dtype`: rounded,
    or quantised on noise. From int8 there is no way back: then the weights are seeded ones."""
    network = model.architecture
    if model.dtype == dtype:
        return model.path
    if model.dtype == "int8":
        seeded = str(Path(folder) / f"{network.name}_seeded.npz")
        write_seeded(network, seeded)
        return model_file(seeded, folder, dtype)
    path = str(Path(folder) / f"{network.name}_{dtype}.npz")
    if dtype == "int8":
        random = np.random.default_rng(0)
        shape = (CALIBRATION_IMAGES, *network.resolution, 3)
        quantize(model.path, path, random.integers(0, 256, shape, np.uint8))
    else:
        write_model(path, network, model.weights(), model.input_spec, None, {}, dtype=dtype)
    return path


def normalised(model: ModelFile, pixels: Array) -> Array:
    """What the network is given for uint8 `pixels`, as peers need it."""
    mean, std = (np.array(values, np.float32) for values in model.input_spec[:2])
    return ((pixels.astype(np.float32) - mean) / std).astype(np.float32)


def fed(model: ModelFile, pixels: Array, file: str) -> Array:
    """What a peer's `file` takes for uint8 `pixels`, or, of "", the exported model: of int8
    networks the pixels."""
    return pixels if model.dtype == "int8" and not file else normalised(model, pixels)


def peer_file(model: ModelFile, given: str, suffix: str, folder: str) -> str:
    """The file `given` for a peer; or, of "", the model exported to `folder`, once."""
    path = given or str(Path(folder) / f"exported{suffix}")
    if not Path(path).exists():
        if given:
            raise SystemExit(f"{given}: no such file")
        export(model.path, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("out", metavar="OUT.npz")
    options = parser.parse_args()
    network = named_network(options.name)
    if network is None:
        raise SystemExit(f"{options.name}: no network's name, such as mobilenet_v2_1.4_224")
    write_seeded(network, options.out)


if __name__ == "__main__":
    main()
