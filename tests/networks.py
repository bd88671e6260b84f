"""Networks of all that the engine runs, for every executor's tests: a few small enough for scalar
loops, and random ones."""

from __future__ import annotations

from hypothesis import strategies as st

from mnv2_engine.network.builder import Builder
from mnv2_engine.network.layer import Network
from mnv2_engine.network.supported import MAX_CONVS, MAX_DENSE


def small_mixed() -> dict[str, Network]:
    """Every operation in a few channels on a few pixels."""
    made = {}

    build = Builder((13, 10))
    at = build.conv("stem", "image", 3, 3, 2, "same", "relu")
    at = build.pointwise("block0.expand", at, 5, "relu6")  # behind the stem
    at = build.depthwise("block0.depthwise", at, 5, 1, "same", "relu")
    at = build.pointwise("block0.project", at, 3)
    at = build.add("block0.add", at, "stem")
    at = build.depthwise("block1.depthwise", at, 3, 1, (2, 1, 0, 1), "relu6")  # of a linear input
    at = build.pointwise("block1.project", at, 4, "relu")
    at = build.pointwise("block2.expand", at, 6, "relu")
    at = build.depthwise("block2.depthwise", at, 7, 2, "symmetric", "relu")
    at = build.pointwise("block2.project", at, 2)
    at = build.conv("conv", at, 3, 2, 1, (0, 0, 0, 0), "relu")
    at = build.pointwise("head", at, 4)
    at = build.pool("pool", at)
    at = build.dense("hidden", at, 5, "relu")
    at = build.dense("last", at, 3)
    made["everything"] = build.network("everything", (at,), "softmax")

    build = Builder((9, 8))
    at = build.conv("stem", "image", 3, 3, 2, "symmetric", "relu6")
    at = build.depthwise("block0.depthwise", at, 7, 1, "same", "relu")
    at = build.pointwise("block0.project", at, 3)
    at = build.add("block0.add", at, "stem")
    at = build.pool("pool", at)  # of a linear map, without a last convolution
    at = build.dense("last", at, 1)
    made["no head"] = build.network("no head", (at,), "sigmoid")

    build = Builder((7, 9))
    at = build.conv("stem", "image", 2, 3, 2, "same", "relu")
    at = build.depthwise("block0.depthwise", at, 3, 1, "same", "relu6")
    at = build.pointwise("block0.project", at, 3, "relu6")
    at = build.conv("conv0", at, 2, 3, 2, (0, 0, 0, 0))
    at = build.pool("pool", at)
    made["no dense layer"] = build.network("no dense layer", (at,), "linear")
    return made


# Channels that meet every remainder of a panel.
channels = st.one_of(st.integers(1, 40), st.sampled_from([48, 64, 72]))
hidden_activations = st.sampled_from(["relu6", "relu"])
activations = st.sampled_from(["linear", "linear", "relu6", "relu"])


@st.composite
def mixed_networks(draw: st.DrawFn) -> Network:
    """One to four blocks on a small image: with and without expand layers, the first block's
    included, depthwise kernels of 3, 5 and 7, any padding, activations behind every layer,
    convolutions from map to map, with and without a last 1x1 convolution, dense stacks or none."""
    build = Builder((draw(st.integers(1, 40)), draw(st.integers(1, 60))))
    sizes = {}  # of the maps by name: (height, width), channels

    def added(name: str) -> str:
        layer = build._layers[name]
        sizes[name] = layer.out_size, layer.out_channels
        return name

    pads = st.sampled_from(["same", "symmetric"])
    at = added(
        build.conv("stem", "image", draw(channels), 3, 2, draw(pads), draw(hidden_activations))
    )
    for i in range(draw(st.integers(1, 4))):
        thin, hidden = at, at
        if draw(st.integers(0, 2)):
            expand, active = f"block{i}.expand", draw(hidden_activations)
            hidden = added(build.pointwise(expand, thin, draw(channels), active))
        kernel, stride = draw(st.sampled_from([3, 5, 7])), draw(st.sampled_from([1, 1, 2]))
        any_pads: str | tuple[int, int, int, int] = draw(pads)
        if draw(st.integers(0, 3)) == 0:
            any_pads = draw(st.tuples(*[st.integers(kernel // 2, kernel - 1)] * 4))
        active = draw(hidden_activations)
        at = added(build.depthwise(f"block{i}.depthwise", hidden, kernel, stride, any_pads, active))
        out = sizes[thin][1] if draw(st.booleans()) else draw(channels)
        joins = sizes[thin] == (sizes[at][0], out) and draw(st.booleans())
        active = "linear" if joins else draw(activations)
        at = added(build.pointwise(f"block{i}.project", at, out, active))
        if joins:
            at = added(build.add(f"block{i}.add", at, thin))
    for i in range(draw(st.sampled_from([0, 0, 0, 1, 2, MAX_CONVS]))):
        kernel = draw(st.integers(1, min(*sizes[at][0], 4)))
        out, active, stride = draw(channels), draw(activations), draw(st.sampled_from([1, 2]))
        if kernel == 1:
            at = added(build.pointwise(f"conv{i}", at, out, active))
        else:
            at = added(build.conv(f"conv{i}", at, out, kernel, stride, (0, 0, 0, 0), active))
    if draw(st.integers(0, 3)) and build._layers[at].operation != "pointwise":
        at = added(build.pointwise("head", at, draw(channels), draw(activations)))
    at = build.pool("pool", at)
    count = draw(st.sampled_from([1, 1, 0, 2, 3, MAX_DENSE]))
    for i in range(count):
        last = i == count - 1
        active = "linear" if last else draw(activations)
        at = build.dense(f"dense{i}", at, draw(st.integers(1, 50)), active)
    return build.network("mixed", (at,), "linear")
