"""The tables against timm's own modules, layer by layer, where timm can be imported."""

from __future__ import annotations

from typing import Any

import pytest

from mnv2_engine.network.blocks import match
from mnv2_engine.network.kin import PUBLISHED, by_name
from mnv2_engine.network.layer import parameters

ACTIVATIONS = {"ReLU": "relu", "ReLU6": "relu6"}


def layers_of(model: Any, size: int) -> list[list[Any]]:
    """(operation, channels in and out, kernel, stride, size in and out, activation) of each layer,
    in the order in which they ran."""
    import torch
    from torch import nn

    rows: list[list[Any]] = []

    def ran(module: Any, inputs: Any, output: Any) -> None:
        source = inputs[0]
        if isinstance(module, nn.Conv2d):
            kernel, pixels = module.kernel_size[0], source.shape[2]
            operation = "pointwise" if kernel == 1 else "conv"
            if module.groups > 1:
                operation = "depthwise"
            if kernel == 1 and pixels == 1 and module.bias is not None:
                operation = "dense"  # behind the pool
            channels = [module.in_channels, module.out_channels]
            sizes = [pixels, output.shape[2]]
            rows.append([operation, *channels, kernel, module.stride[0], *sizes, "linear"])
        elif isinstance(module, nn.Linear):
            rows.append(["dense", module.in_features, module.out_features, 1, 1, 1, 1, "linear"])
        else:
            rows[-1][-1] = ACTIVATIONS[type(module).__name__]

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.ReLU, nn.ReLU6)):
            module.register_forward_hook(ran)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return rows


def test_layers_are_timms() -> None:
    timm = pytest.importorskip("timm", reason="needs timm, torch and torchvision")
    names = [name for name in PUBLISHED if timm.is_model(name)]
    assert len(names) > 20
    for name in names:
        model = timm.create_model(name)
        network = by_name(name, 64)
        assert parameters(network) == sum(p.numel() for p in model.parameters()), name
        due = [
            [
                *(layer.operation, layer.in_channels, layer.out_channels, layer.kernel),
                *(layer.stride, layer.in_size[0], layer.out_size[0], layer.activation),
            ]
            for layer in network.weighted
        ]
        assert due == layers_of(model, 64), name
        blocks = [block for stage in model.blocks for block in stage if hasattr(block, "has_skip")]
        joined = [block.residual for block in match(network).blocks]
        assert joined == [block.has_skip for block in blocks][: len(joined)], name
        assert model.default_cfg["input_size"][1] == PUBLISHED[name].resolution, name
