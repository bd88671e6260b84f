"""The engines that we race, each at its best settings, behind one call.

`PEERS[name](path, image, threads)` loads a file and returns a callable that runs `image`, which is
bound once, and gives what the file does: logits, or their softmax, or either in 8 bits. `image` is
normalised float32, (1, H, W, 3), or uint8 pixels for a file that takes those. Nothing is imported
before a peer is asked for: processes.py measures that too. Files of int8 networks are run with the
same settings.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Run = Callable[[], Any]

PACKAGES = {
    "litert": ("ai-edge-litert", "ai_edge_litert.interpreter"),
    "onnxruntime": ("onnxruntime", "onnxruntime"),
    "openvino": ("openvino", "openvino"),
}


def imported(peer: str) -> Any:
    """The module of a peer; ends the bench, saying what to install, where it is missing."""
    package, module = PACKAGES[peer]
    try:
        return import_module(module)
    except ImportError as error:
        raise SystemExit(
            f'{peer}: {error}; install it with: pip install {package}, or ".[bench]"'
        ) from error


def litert(path: str, image: Any, threads: int = 1) -> Run:
    """XNNPACK, which is its default for float32 and for 8 bits."""
    interpreter = imported("litert").Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(source["index"], levels(image, source["dtype"], source["quantization"]))

    def run() -> Any:
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    return run


def onnxruntime(path: str, image: Any, threads: int = 1) -> Run:
    """All graph optimisations; the batch fixed to 1; input and output bound."""
    import numpy as np

    ort = imported("onnxruntime")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_free_dimension_override_by_name("N", 1)
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    planar = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    binding.bind_cpu_input(session.get_inputs()[0].name, planar)
    binding.bind_output(_logits([output.name for output in session.get_outputs()]))

    def run(_bound: Any = planar) -> Any:  # the binding does not keep it alive
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    return run


def openvino(path: str, image: Any, threads: int = 1, precision: str = "f32") -> Run:
    """Latency, one stream, float32, in an int8 network for what is not int8: by itself it takes
    bfloat16 where the CPU has it."""
    core = imported("openvino").Core()
    planar = image.transpose(0, 3, 1, 2)
    model = core.read_model(path)
    model.reshape(planar.shape)  # the batch may be dynamic
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    request.get_input_tensor().data[:] = planar
    output = request.get_tensor(_logits([port.get_any_name() for port in compiled.outputs]))

    def run() -> Any:
        request.infer()
        return output.data.copy()

    return run


def openvino_bf16(path: str, image: Any, threads: int = 1) -> Run:
    """The same in bfloat16, its own choice."""
    return openvino(path, image, threads, "bf16")


PEERS: dict[str, Callable[..., Run]] = {
    "litert": litert,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "openvino-bf16": openvino_bf16,
}
SUFFIXES = {
    "litert": ".tflite",
    "onnxruntime": ".onnx",
    "openvino": ".onnx",
    "openvino-bf16": ".onnx",
}


def peer_and_file(text: str) -> tuple[str, str]:
    """(peer, file) of `PEER:FILE`, or (peer, "") where the model is to be exported."""
    name, _, path = text.partition(":")
    if name not in PEERS:
        raise SystemExit(f"{name!r}: expected one of {', '.join(PEERS)}")
    return name, path


def levels(image: Any, dtype: Any, quantization: tuple[float, int]) -> Any:
    """`image` as an input of this NumPy dtype takes it: as it is, or real = scale * (q - zero)."""
    import numpy as np

    if dtype in (np.float32, image.dtype):
        return image
    (scale, zero_point), limits = quantization, np.iinfo(dtype)
    stored = np.rint(image / np.float32(scale)) + zero_point
    return np.clip(stored, limits.min, limits.max).astype(dtype)


def _logits(outputs: list[str]) -> str:
    """Some files give the pooled features as well."""
    return "logits" if "logits" in outputs else outputs[0]
