"""What the source and the options say together: all of it, without a guess or a contradiction."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_weights, small_network

from mnv2_engine.convert import Conversion, convert
from mnv2_engine.errors import CheckpointError, InputError, MnvError, UnsupportedError
from mnv2_engine.model.input_spec import PRESETS, InputSpec
from mnv2_engine.model.labels import imagenet
from mnv2_engine.model.modelfile import open_model
from mnv2_engine.network.families import mobilenet_v2

OPTIONS: dict[str, Any] = {"padding": "same", "preprocess": "tf", "labels": "none"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("options") / "source.npz"
    np.savez(path, **make_weights(small_network()))  # type: ignore[arg-type]
    return path


@pytest.fixture
def converted(source: Path, tmp_path: Path) -> Any:
    def run(**options: Any) -> Conversion:
        return convert(source, tmp_path / "out.npz", **{**OPTIONS, **options})

    return run


@pytest.fixture
def thousand(tmp_path: Path) -> Any:
    """`thousand(classes)`: a source with that many classes, the smallest there is."""

    def make(classes: int) -> Path:
        path = tmp_path / f"{classes}.npz"
        network = mobilenet_v2(0.1, 32, classes, divisor=4)
        np.savez(path, **make_weights(network))  # type: ignore[arg-type]
        return path

    return make


def test_all_that_is_missing_in_one_message(source, tmp_path):
    with pytest.raises(InputError) as error:
        convert(source, tmp_path / "out.npz")
    assert str(error.value) == (
        "source.npz: the checkpoint does not say all that is needed; give the options "
        "padding (same or symmetric) and preprocess (tf, imagenet, lite or unit) and "
        "labels (a file of one label a line, imagenet, or none)"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", OPTIONS)
def test_only_what_is_missing_is_asked_for(missing, converted):
    with pytest.raises(InputError, match=rf"give the option {missing} \(") as error:
        converted(**{missing: None})
    assert not any(f"{name} (" in str(error.value) for name in OPTIONS if name != missing)


def test_what_is_written_is_what_is_returned(converted, tmp_path):
    made = converted(padding="symmetric", preprocess="imagenet", resolution=(64, 96))
    with open_model(tmp_path / "out.npz") as opened:
        assert opened.network == made.network
        assert opened.input_spec == made.input_spec == PRESETS["imagenet"]
        assert opened.labels is None
    assert made.network == mobilenet_v2(0.1, (64, 96), 5, "symmetric", divisor=4)
    assert (made.name, made.classes, made.labels) == ("mobilenet_v2_0.1_64x96", 5, 0)


def test_the_familys_own_resolution_is_noted(converted):
    made = converted()
    assert made.network.resolution == (224, 224)
    assert made.notes == ("resolution 224, which is the family's own: the checkpoint states none",)
    assert converted(resolution=97).notes == ()


def test_geometry_replaces_the_presets(converted):
    assert converted(preprocess="lite").input_spec == PRESETS["lite"]
    made = converted(preprocess="lite", resample="box", crop_fraction=1.0)
    assert made.input_spec == PRESETS["lite"]._replace(resample="box", crop_fraction=1.0)
    own = InputSpec((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "nearest", 0.5)
    assert converted(preprocess=own).input_spec == own


def test_squashing_takes_the_whole_picture_unless_told(converted):
    assert converted(preprocess="tf", fit="squash").input_spec == PRESETS["tf"]._replace(
        fit="squash", crop_fraction=1.0
    )
    made = converted(preprocess="tf", fit="squash", crop_fraction=0.9, resample="nearest")
    assert made.input_spec[2:] == ("nearest", 0.9, "squash")
    assert converted(preprocess="tf", fit="crop").input_spec == PRESETS["tf"]


WRONG = {
    "padding": ("valid", "padding 'valid': expected same or symmetric"),
    "preprocess": ("caffe", "preprocess 'caffe': expected tf, imagenet, lite or unit"),
    "resample": ("mitchell", "resample 'mitchell': expected bilinear, bicubic"),
    "fit": ("letterbox", "fit 'letterbox': expected crop or squash"),
    "crop_fraction": (1.5, "crop_fraction 1.5: expected a number from 0.05 to 1"),
    "resolution": (0, "resolution .*0.*: expected a size"),
    "labels": (5, "labels: got int, expected the path of a file"),
}


@pytest.mark.parametrize("option", WRONG)
def test_values_that_are_none(option, converted, tmp_path):
    value, message = WRONG[option]
    with pytest.raises(InputError, match=message):
        converted(**{option: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("padding", 3),
        ("preprocess", 3),
        ("preprocess", ("tf",)),
        ("preprocess", InputSpec((0.0,) * 3, (0.0,) * 3, "bilinear", 0.875)),
        ("preprocess", InputSpec(1, 2, "bilinear", 0.875)),  # type: ignore[arg-type]
        ("resample", []),
        ("crop_fraction", "half"),
        ("crop_fraction", float("nan")),
        ("resolution", "224"),
        ("resolution", (224, 224, 3)),
        ("resolution", 224.0),
        ("resolution", True),
        ("resolution", 1 << 70),
    ],
)
def test_values_of_a_wrong_type_or_out_of_range(option, value, converted):
    with pytest.raises(InputError, match=option.replace("preprocess", "preprocess|mean|std")):
        converted(**{option: value})


# Labels


def write(path: Path, labels: Any) -> Path:
    path.write_text("\n".join(labels) + "\n", encoding="utf-8")
    return path


def test_labels_of_a_file(converted, tmp_path):
    names = ["ein", "zwei", "drei, die dritte", "fünf", "四"]
    made = converted(labels=write(tmp_path / "labels.txt", names))
    assert made.labels == 5
    with open_model(tmp_path / "out.npz") as opened:
        assert opened.labels == tuple(names)


def test_a_wrong_count_of_labels(converted, tmp_path):
    labels = write(tmp_path / "labels.txt", "abcd")
    message = r"labels.txt has 4 labels, but source.npz has 5 classes: expected one line for each"
    with pytest.raises(InputError, match=message):
        converted(labels=labels)


def test_a_thousand_labels_for_1001_classes(thousand, tmp_path):
    labels = write(tmp_path / "labels.txt", imagenet())
    with pytest.raises(InputError, match=r"1001 classes: .*put a line 'background' before"):
        convert(thousand(1001), tmp_path / "out.npz", **{**OPTIONS, "labels": labels})


def test_1001_labels_for_a_thousand_classes(thousand, tmp_path):
    labels = write(tmp_path / "labels.txt", imagenet(1001))
    with pytest.raises(InputError, match=r"1000 classes: its first line, 'background', .* remove"):
        convert(thousand(1000), tmp_path / "out.npz", **{**OPTIONS, "labels": labels})


@pytest.mark.parametrize("classes", [1000, 1001])
def test_imagenets_own(classes, thousand, tmp_path):
    out = tmp_path / "out.npz"
    made = convert(thousand(classes), out, **{**OPTIONS, "labels": "imagenet"})
    assert made.labels == classes
    with open_model(out) as opened:
        assert opened.labels == imagenet(classes)


def test_imagenets_for_another_network(converted):
    with pytest.raises(InputError, match="ImageNet's labels for 5 classes"):
        converted(labels="imagenet")


# Files


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="cannot open the checkpoint: No such file"):
        convert(tmp_path / "none.npz", tmp_path / "out.npz", **OPTIONS)


@pytest.mark.parametrize("path", [3, None, b"a\0b", "a\0b"])
def test_a_path_that_is_none(path, tmp_path):
    with pytest.raises(MnvError, match="checkpoint"):
        convert(path, tmp_path / "out.npz", **OPTIONS)


def test_a_folder(tmp_path):
    with pytest.raises(CheckpointError, match="a folder, and no TensorFlow SavedModel"):
        convert(tmp_path, tmp_path / "out.npz", **OPTIONS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        convert(tmp_path / "pipe", tmp_path / "out.npz", **OPTIONS)


def test_a_file_too_large(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(CheckpointError, match=r"1073741825 bytes: expected .* at most 1 GiB"):
        convert(path, tmp_path / "out.npz", **OPTIONS)


def test_a_disk_that_fails(source, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("mnv2_engine.convert.conversion.sha256_of", fail)
    with pytest.raises(CheckpointError, match=r"source.npz: cannot be read: Input/output error"):
        convert(source, tmp_path / "out.npz", **OPTIONS)


def test_the_checkpoint_is_not_overwritten(source):
    before = source.read_bytes()
    with pytest.raises(InputError, match="the output is the checkpoint itself"):
        convert(source, source, **OPTIONS)
    assert source.read_bytes() == before


def test_a_failure_leaves_the_output_as_it_was(source, tmp_path):
    out = tmp_path / "out.npz"
    out.write_bytes(b"precious")
    with pytest.raises(InputError, match="padding"):
        convert(source, out, preprocess="tf", labels="none")
    assert out.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [out]


UNKNOWN = {
    "an empty file": b"",
    "not a known format": b"weights, honestly",
    "a gzip file": b"\x1f\x8b" + bytes(100),
    "a single NumPy array": b"\x93NUMPY\x01\x00" + bytes(100),
    "a pickle, which is never opened": b"\x80\x04}.",
    "a Git LFS pointer, not the file itself: run `git lfs pull`": b"version https://git-lfs.github"
    b".com/spec/v1\noid sha256:4d7a\nsize 14000000\n",
    "an HTML page, not the file that its link leads to": b"\n<!DOCTYPE html>\n<html lang=en>",
    "a GGUF file": b"GGUF\x03" + bytes(100),
    "a tar archive: unpack it first": b"model/".ljust(257, b"\0") + b"ustar\x0000" + bytes(250),
    "a JPEG photograph": b"\xff\xd8\xff\xe0" + bytes(100),
    "an XML file, such as OpenVINO's": b'<?xml version="1.0"?><net name="m">',
    "a config.json, which only describes a network": b'{"architectures": ["MobileNetV2"]}',
    "the index of a checkpoint in several safetensors": b'{"weight_map": {}}',
    "a Keras configuration without weights": b'{"class_name": "Functional", "config": {}}',
    "a JSON file that is no TensorFlow.js model.json": b'{"labels": ["cat"]}',
}


@pytest.mark.parametrize("description", UNKNOWN)
def test_unknown_content(description, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(UNKNOWN[description])
    with pytest.raises(CheckpointError, match=description) as error:
        convert(path, tmp_path / "out.npz", **OPTIONS)
    for understood in ("TFLite", "PyTorch", "canonical"):
        assert understood in str(error.value)


@pytest.mark.parametrize(
    ("error", "due"),
    [
        (CheckpointError("a: the file is damaged"), "; copy or download it again"),
        (CheckpointError("a: no data"), "; the file is damaged or was cut short: copy or downlo"),
        (UnsupportedError("a: a loop"), "; docs/convert.md says which networks convert"),
        (CheckpointError("a: a gzip file; unpack it"), "a gzip file; unpack it"),
        (InputError("a: labels"), "a: labels"),
    ],
)
def test_every_refusal_has_a_next_step(error, due, monkeypatch):
    from mnv2_engine.convert import conversion
    from mnv2_engine.convert.options import Options
    from mnv2_engine.convert.sources import formats

    def refuse(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(formats, "read", refuse)
    with pytest.raises(type(error)) as found:
        conversion.read_handle(None, "a", "a", Options())  # type: ignore[arg-type]
    assert due in str(found.value)
    assert str(found.value).startswith(str(error))
