"""Files that are no checkpoint this engine reads: what each is, and what to do next."""

from __future__ import annotations

import json

UNDERSTOOD = (
    "a TFLite, ONNX, Keras (.h5, .keras), TensorFlow.js (model.json), safetensors or PyTorch "
    "(.pt, .pth) file, a frozen TensorFlow graph (.pb), or a .npz of canonical weights"
)

# (what a file begins with, what it is and what to do).
_BEGINNINGS = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself: run `git lfs pull` in its repository, or download "
        "the file from its page",
    ),
    (b"\x93NUMPY", "a single NumPy array: a .npz of all weights is needed"),
    (b"\x1f\x8b", "a gzip file: unpack it first (gunzip, or tar xzf for .tar.gz)"),
    (b"BZh", "a bzip2 file: unpack it first"),
    (b"\xfd7zXZ", "an xz file: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (
        b"GGUF",
        "a GGUF file, which llama.cpp reads and which holds language models: find the network as "
        "TFLite, ONNX or PyTorch weights",
    ),
    (b"GGML", "a GGML file: find the network as TFLite, ONNX or PyTorch weights"),
    (b"\xff\xd8\xff", "a JPEG photograph, not a checkpoint; `mnv2 classify` takes those"),
    (b"\x89PNG", "a PNG image, not a checkpoint; `mnv2 classify` takes those"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program, not a checkpoint"),
    (b"7767517", "an ncnn parameter file: convert the file that it was made from"),
    (b"DXAF", "a compiled program"),
)


def described(head: bytes) -> str:
    """What a file that begins with `head` is."""
    if not head:
        return "an empty file"
    for start, description in _BEGINNINGS:
        if head.startswith(start):
            return description
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return (
            "an HTML page, not the file that its link leads to: open the page and use its download "
            "button (on GitHub `Download raw file`, on Hugging Face `resolve` in place of `blob`)"
        )
    if text.startswith(b"<?xml") or text.startswith(b"<net "):
        return (
            "an XML file, such as OpenVINO's: convert the ONNX or TFLite file that it was made from"
        )
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if head[:1] == b"\x80":
        return (
            "a pickle, which is never opened, as it is a program, and not one that torch.save() "
            "wrote; save the weights alone: torch.save(model.state_dict(), FILE)"
        )
    return f"not a known format (it begins with {head[:8]!r})"


def described_zip(members: list[str]) -> str | None:
    """What an archive with these members is, where it is something that people have."""
    ends = tuple(member.rsplit("/", 1)[-1] for member in members)
    if "model.mlmodel" in ends or "Manifest.json" in ends:
        return (
            "a Core ML package, which Apple's tools read: convert the PyTorch or Keras model that "
            "it was made from"
        )
    if any(member.endswith((".tflite", ".h5", ".keras", ".onnx", ".pt", ".pth", ".safetensors"))
           for member in members):  # fmt: skip
        inside = next(
            member for member in members
            if member.endswith(
                (".tflite", ".h5", ".keras", ".onnx", ".pt", ".pth", ".safetensors")
            )
        )  # fmt: skip
        return f"a zip archive around {inside[:80]!r}: unpack it first"
    if "saved_model.pb" in ends:
        return "a zip archive around a TensorFlow SavedModel: unpack it first"
    if "model.json" in ends:
        return "a zip archive around a TensorFlow.js model: unpack it, and convert its model.json"
    if "AndroidManifest.xml" in ends:
        return "an Android app: take the .tflite file out of its assets folder"
    return None


def described_json(content: bytes) -> str:
    """What a JSON file that is no TensorFlow.js model is."""
    try:
        found = json.loads(content[: 1 << 22])
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        if "weight_map" in found:
            return (
                "the index of a checkpoint in several safetensors files: convert the file itself, "
                "or join them: model.save_pretrained(OUT, max_shard_size='10GB')"
            )
        if "architectures" in found or "architecture" in found:
            return (
                "a config.json, which only describes a network: convert model.safetensors or "
                "pytorch_model.bin beside it"
            )
        if "class_name" in found and "config" in found:
            return (
                "a Keras configuration without weights (model.to_json()): save the whole model: "
                "model.save('model.keras')"
            )
    return "a JSON file that is no TensorFlow.js model.json"
