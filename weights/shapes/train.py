"""Makes what is in this folder, with torch and Pillow: `python train.py`, some four minutes of a
core that is free, or `python train.py --seeded`, which leaves out the training.

1. MobileNetV2 of width 0.1 at 48 pixels learns to name drawn pictures, in PyTorch.
2. Batch-norms are folded; weights are rounded to float16, so the model file holds them exactly.
3. shapes.npz is that network, shapes_int8.npz the same by `mnv2 quantize`.
4. golden.json has PyTorch's float64 logits of those weights for the pictures that are stored here
   and for the package's photograph, and the 8-bit logits of the NumPy reference.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from drawing import NAMES, SIZE, picture, pictures
from PIL import Image

from mnv2_engine import Engine
from mnv2_engine.images.preprocess import load_image, pixels_for
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.network.layer import WINDOWED, Layer, Network
from mnv2_engine.quantize import quantize

HERE = Path(__file__).parent
NETWORK = mobilenet_v2(0.1, SIZE, len(NAMES), "same", divisor=4)
SPEC = PRESETS["tf"]._replace(crop_fraction=1.0)
PICTURES, BATCH, RATE, PENALTY = 6000, 32, 6e-3, 1e-3
STEPS = 3000  # of training
EPSILON = 1e-3
LAST = torch.channels_last  # a third quicker


class Net(torch.nn.Module):
    """A table of layers in PyTorch: with batch-norms behind convolutions or, folded, biases."""

    def __init__(self, network: Network, folded: bool = False) -> None:
        super().__init__()
        self.network, self.layers = network, torch.nn.ModuleDict()
        for layer in network.weighted:
            key = layer.name.replace(".", "_")
            if layer.operation == "dense":
                self.layers[key] = torch.nn.Linear(layer.in_channels, layer.out_channels)
                continue
            groups = layer.in_channels if layer.operation == "depthwise" else 1
            self.layers[key] = torch.nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                groups=groups,
                bias=folded,
            )
            if not folded:
                self.layers[key + "_norm"] = torch.nn.BatchNorm2d(layer.out_channels, EPSILON)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.one(self.network.layers[-1], [self.features(image)])

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """What the last layer reads."""
        values = {"image": image}
        for layer in self.network.layers[:-1]:
            values[layer.name] = self.one(layer, [values[name] for name in layer.inputs])
        return values[self.network.layers[-2].name]

    def one(self, layer: Layer, inputs: list[torch.Tensor]) -> torch.Tensor:
        key, x = layer.name.replace(".", "_"), inputs[0]
        if layer.operation == "add":
            x = inputs[0] + inputs[1]
        elif layer.operation == "pool":
            x = x.mean((2, 3))
        else:
            if layer.operation in WINDOWED:
                x = torch.nn.functional.pad(x, (*layer.pad_columns, *layer.pad_rows))
            x = self.layers[key](x)
            if key + "_norm" in self.layers:
                x = self.layers[key + "_norm"](x)
        return x if layer.activation == "linear" else torch.nn.functional.relu6(x)


def tensor(images: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normalised pixels (N, 3, H, W)."""
    mean, std = (np.array(each) for each in SPEC[:2])
    return torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2)).to(dtype).contiguous()


def trained(images: np.ndarray, classes: np.ndarray) -> Net:
    """Adam and a cosine, over STEPS; then the last layer by itself, to the end."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net, x, y = Net(NETWORK).to(memory_format=LAST), tensor(images), torch.from_numpy(classes)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02)
    begun = time.process_time()
    for step in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,))
        batch = torch.rot90(x[chosen], int(torch.randint(4, ())), (2, 3))
        if torch.rand(()) < 0.5:
            batch = batch.flip(3)
        batch = batch.contiguous(memory_format=LAST)
        loss = torch.nn.functional.cross_entropy(net(batch), y[chosen])
        for group in optimiser.param_groups:
            group["lr"] = (
                RATE * min(1, (step + 1) / 20) * (0.5 + 0.5 * np.cos(np.pi * step / STEPS))
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            cpu = time.process_time() - begun
            print(step, f"{float(loss.detach()):.3f}", f"{cpu:.0f} s", flush=True)
    net.eval()
    with torch.no_grad():
        features = torch.cat([net.features(part) for part in x.split(100)])
    fit(net.layers["classifier"], features.double(), y)
    return net


def fit(classifier: torch.nn.Linear, features: torch.Tensor, y: torch.Tensor) -> None:
    """Logistic regression of standardised features, with a penalty on the weights."""
    mean, deviation = features.mean(0), features.std(0) + 1e-2
    x = (features - mean) / deviation
    weight = torch.zeros(len(NAMES), x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(len(NAMES), dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = torch.nn.functional.cross_entropy(x @ weight.T + bias, y)
        found = found + PENALTY * weight.square().sum()
        found.backward()
        return found

    optimiser.step(loss)
    with torch.no_grad():
        classifier.weight.copy_(weight / deviation)
        classifier.bias.copy_(bias - (weight / deviation) @ mean)


def folded(net: Net) -> dict[str, np.ndarray]:
    """Canonical weights without batch-norms, rounded to float16; biases are float32."""
    weights = {}
    for layer in net.network.weighted:
        key = layer.name.replace(".", "_")
        weight = net.layers[key].weight.detach().double().numpy()
        if layer.operation == "dense":
            bias = net.layers[key].bias.detach().double().numpy()
        else:
            norm = net.layers[key + "_norm"]
            mean, variance = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
            factor = norm.weight.detach().double().numpy() / np.sqrt(variance + EPSILON)
            weight = weight * factor[:, None, None, None]
            bias = norm.bias.detach().double().numpy() - mean * factor
        weights[layer.name + ".weight"] = weight.astype(np.float16).astype(np.float32)
        weights[layer.name + ".bias"] = bias.astype(np.float32)
    return weights


def seeded() -> dict[str, np.ndarray]:
    """Filters by chance, of a scale under which activations neither die nor explode."""
    random = np.random.default_rng(0)
    weights = {}
    for layer in NETWORK.weighted:
        linear = layer.activation == "linear"
        scale = np.sqrt((1.0 if linear else 2.5) / np.prod(layer.weight_shape[1:]))
        weight = random.normal(0, scale, layer.weight_shape).astype(np.float16)
        bias = random.normal(0.0 if linear else 0.7, 1.0, layer.out_channels)
        weights[layer.name + ".weight"] = weight.astype(np.float32)
        weights[layer.name + ".bias"] = bias.astype(np.float32)
    return weights


def write(path: Path, weights: dict[str, np.ndarray], dtype: str = "float32") -> None:
    provenance = {"source": "weights/shapes/train.py", "licence": "Apache-2.0"}
    write_model(path, NETWORK, weights, SPEC, list(NAMES), provenance, dtype=dtype)


def oracle(weights: dict[str, np.ndarray]) -> Net:
    """PyTorch's network of folded weights, in float64."""
    net = Net(NETWORK, folded=True).double().eval()
    with torch.no_grad():
        for layer in NETWORK.weighted:
            module = net.layers[layer.name.replace(".", "_")]
            module.weight.copy_(torch.from_numpy(weights[layer.name + ".weight"]))
            module.bias.copy_(torch.from_numpy(weights[layer.name + ".bias"]))
    return net


def main() -> None:
    is_seeded = sys.argv[1:] == ["--seeded"]
    if is_seeded:
        weights = seeded()
    else:
        images, labels = pictures(PICTURES, seed=1)
        weights = folded(trained(images, labels))
    unseen, classes = pictures(1000, seed=2)
    model, small = HERE / "shapes.npz", HERE / "shapes_int8.npz"
    write(model, weights, "float16")
    found = Engine.load(model).logits(unseen).argmax(1)
    accuracy = float((found == classes).mean())
    print("accuracy on 1000 unseen pictures", accuracy)
    exact = oracle(weights)

    random = np.random.default_rng(3)
    stored = []
    for name in NAMES:
        stored.append(HERE / "pictures" / f"{name}.png")
        Image.fromarray(picture(name, random)).save(stored[-1], optimize=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.npz"
        write(whole, weights)
        small.unlink(missing_ok=True)
        print(quantize(whole, small, pictures(120, seed=4)[0]))

    photograph = HERE.parents[1] / "mnv2_engine" / "data" / "chelsea.jpg"
    pixels = [np.array(Image.open(path)) for path in stored]
    shown = pixels_for(load_image(str(photograph)), SPEC, NETWORK.resolution)
    pixels.append(np.frombuffer(shown, np.uint8).reshape(SIZE, SIZE, 3))
    with torch.no_grad():
        logits = exact(tensor(np.stack(pixels), torch.float64)).numpy()
    integers = Engine.load(small, backend="numpy").logits(np.stack(pixels))
    golden = {
        "made by": f"weights/shapes/train.py, torch {torch.__version__}, float64",
        "trained": not is_seeded,
        "accuracy on 1000 unseen pictures": accuracy,
        "files": [f"pictures/{path.name}" for path in stored] + ["chelsea.jpg"],
        "float": [[round(float(value), 6) for value in row] for row in logits],
        "int8": [[float(value).hex() for value in row] for row in integers],
    }
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", "utf-8")
    print({path.name: path.stat().st_size for path in (model, small)})


if __name__ == "__main__":
    sys.exit(main())
