"""The container: what is written is read, in place, by us and by numpy; writing is atomic."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnv2_engine.errors import CheckpointError, InputError, MnvError, ModelFileError
from mnv2_engine.model import npz
from mnv2_engine.model.class_labels import Labels
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.members import pack, packed_members
from mnv2_engine.model.modelfile import open_model, write_model
from mnv2_engine.network.families import efficientnet_lite, mobilenet_v2
from mnv2_engine.network.layer import Network

SMALL = mobilenet_v2(0.1, 32, 5, divisor=4)
LABELS = ["kit fox, Vulpes macrotis", "crane", "crane", "\u0dc3\u0dd2\u0d82\u0dc4\u0dba\u0dcf", ""]


@pytest.mark.parametrize(
    ("network", "preset"),
    [
        (SMALL, "tf"),
        (mobilenet_v2(0.35, (97, 128), 1001, "symmetric"), "imagenet"),
        (efficientnet_lite(0, classes=20), "lite"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_is_written_is_read(
    network: Network, preset: str, tmp_path: Path, random_weights: Callable[..., Any]
) -> None:
    weights = random_weights(network)
    labels = [f"class {i}" for i in range(network.classes)]
    provenance = {"source": "seeded", "sha256": "0" * 64}
    path = tmp_path / "model.npz"
    write_model(path, network, weights, PRESETS[preset], labels, provenance)
    with open_model(path) as model:
        assert model.path == str(path)
        assert model.network == network
        assert model.input_spec == PRESETS[preset]
        assert model.labels == tuple(labels)
        assert model.provenance == provenance
        assert model.dtype == "float32"
        assert model.mapped
        assert isinstance(model.buffer, mmap.mmap)
        assert len(model.buffer) == model.file_bytes == path.stat().st_size
        assert {
            name: (tensor.descr, tensor.shape) for name, tensor in model.tensors.items()
        } == packed_members(network)
        assert list(model.tensors) == list(packed_members(network))
        for name, array in pack(network, weights).items():
            offset, shape, _ = model.tensors[name]
            assert offset % 64 == 0
            assert model.buffer[offset : offset + array.nbytes] == array.tobytes()
            assert model.array(name).shape == shape
        again = model.weights()
        assert list(again) == list(weights)
        assert all(np.array_equal(again[name], weights[name]) for name in weights)
        assert model.weight_bytes == sum(model.array(name).nbytes for name in model.tensors)
        model.verify()


def test_labels_in_any_script(small_model: Callable[..., Path]) -> None:
    with open_model(small_model(labels=LABELS)) as model:
        assert model.labels == tuple(LABELS)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 1001])
def test_labels_are_a_sequence_like_any_other(count: int) -> None:
    names = tuple("" if i % 7 == 3 else f"name {i}" for i in range(count))
    labels = Labels(names)
    assert (len(labels), tuple(labels), labels) == (count, names, names)
    assert [labels[i] for i in range(-count, count)] == [*names, *names]
    assert (labels[5:40], labels[::-9]) == (names[5:40], names[::-9])
    assert hash(labels) == hash(Labels(names))
    assert labels != Labels((*names[:-1], "another"))
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            labels[index]


def test_no_labels(small_model: Callable[..., Path]) -> None:
    with open_model(small_model(labels=None)) as model:
        assert model.labels is None


def test_numpy_and_zipfile_can_read_it(small_model: Callable[..., Path]) -> None:
    path = small_model()
    with np.load(path) as file, open_model(path) as model:
        assert set(file.files) == {"meta", *model.tensors}
        assert bytes(file["meta"]).startswith(b'{"format": "mnv2_engine", "version": 2')
        for name in model.tensors:
            assert file[name].dtype == np.float32
            assert np.array_equal(file[name], model.array(name))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_saved_again_by_numpy_is_copied(
    save: Callable[..., None], small_model: Callable[..., Path], tmp_path: Path
) -> None:
    path = small_model(labels=LABELS)
    again = tmp_path / "again.npz"
    with np.load(path) as file:
        save(again, **file)
    with open_model(path) as model, open_model(again) as copy:
        assert not copy.mapped
        assert copy.network == model.network
        assert copy.labels == model.labels
        assert copy.file_bytes == again.stat().st_size
        assert copy.weight_bytes == model.weight_bytes
        for name in model.tensors:
            assert copy.tensors[name].offset % 64 == 0
            assert copy.array(name).tobytes() == model.array(name).tobytes()
            assert copy.array(name).ctypes.data % 64 == 0
            assert not copy.array(name).flags.writeable
        copy.verify()


def test_numpy_saving_to_a_pipe_is_read(small_model: Callable[..., Path], tmp_path: Path) -> None:
    """A writer that cannot seek states sizes after the data."""
    again = tmp_path / "again.npz"
    with np.load(small_model()) as file, again.open("wb") as out:
        out.seekable = lambda: False  # type: ignore[method-assign]
        np.savez(out, **file)
    with open_model(again) as model:
        assert not model.mapped
        model.verify()


def test_equal_models_are_equal_files(small_model: Callable[..., Path]) -> None:
    first = small_model(name="first.npz", labels=LABELS).read_bytes()
    assert small_model(name="second.npz", labels=LABELS).read_bytes() == first
    assert small_model(name="third.npz", labels=LABELS, seed=1).read_bytes() != first


@pytest.mark.parametrize("width", [1.0, 0.75, 0.5, 0.35])
def test_a_file_is_two_percent_larger_than_its_parameters_at_most(
    width: float, tmp_path: Path, random_weights: Callable[..., Any]
) -> None:
    network = mobilenet_v2(width)
    path = tmp_path / "model.npz"
    write_model(path, network, random_weights(network), PRESETS["tf"], None, {})
    folded = sum(
        int(np.prod(layer.weight_shape)) + layer.out_channels for layer in network.weighted
    )
    assert 4 * folded < path.stat().st_size <= 1.02 * 4 * folded


def test_arrays_are_views_that_cannot_be_written(small_model: Callable[..., Path]) -> None:
    with open_model(small_model()) as model:
        array = model.array("stem.weight")
        assert np.shares_memory(array, model.array("stem.weight"))
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        with pytest.raises(TypeError):
            model.buffer[0] = 0
        with pytest.raises(InputError, match=r"no tensor 'block0\.expand"):
            model.array("block0.expand.weight")


def test_close_twice_and_then_use(small_model: Callable[..., Path]) -> None:
    model = open_model(small_model())
    buffer = model.buffer
    model.close()
    model.close()
    assert buffer.closed
    for use in (lambda: model.buffer, lambda: model.array("stem.bias"), model.weights):
        with pytest.raises(InputError, match="closed"):
            use()
    assert model.network == SMALL


def test_arrays_outlive_close(small_model: Callable[..., Path]) -> None:
    model = open_model(small_model())
    array = model.array("stem.weight")
    before = array.copy()
    model.close()
    assert np.array_equal(array, before)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_descriptor_stays_open(small_model: Callable[..., Path], tmp_path: Path) -> None:
    path = small_model()
    again = tmp_path / "again.npz"
    with np.load(path) as file:
        np.savez_compressed(again, **file)
    before = len(os.listdir("/proc/self/fd"))
    for each in (path, again):
        open_model(each).close()
    open_model(again)  # even unclosed: nothing of the file is needed any more
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_replaced_while_open_is_still_the_old_one(
    small_model: Callable[..., Path],
) -> None:
    with open_model(small_model(seed=0)) as old:
        before = old.array("stem.weight").copy()
        with open_model(small_model(seed=1)) as new:
            assert np.array_equal(old.array("stem.weight"), before)
            assert not np.array_equal(new.array("stem.weight"), before)


def test_reading_imports_neither_numpy_nor_zipfile(small_model: Callable[..., Path]) -> None:
    code = """
import sys
from mnv2_engine.model.modelfile import open_model
open_model(sys.argv[1])
print([name for name in ("numpy", "zipfile", "pickle", "ast", "dataclasses", "inspect", "pathlib",
                         "tempfile", "shutil", "logging", "zlib") if name in sys.modules])
"""
    # Without site, whose .pth files import what they like.
    paths = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-S", "-c", code, str(small_model())]
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_verify_finds_a_flipped_bit(small_model: Callable[..., Path]) -> None:
    path = small_model()
    with open_model(path) as model:
        model.verify()
        at = model.tensors["head.weight"].offset + 1000
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with open_model(path) as model:
        assert model.mapped
        with pytest.raises(ModelFileError, match=r"small\.npz: member 'head\.weight' .*checksum"):
            model.verify()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_verify_finds_weights_that_are_no_numbers(
    value: float, small_model: Callable[..., Path], tmp_path: Path
) -> None:
    again = tmp_path / "again.npz"
    with np.load(small_model()) as file:
        arrays = dict(file)
    arrays["block3.expand.bias"][7] = value
    np.savez(again, **arrays)
    with open_model(again) as model, pytest.raises(ModelFileError, match=r"block3\.expand\.bias"):
        model.verify()


# --- files that cannot be opened -----------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"absent\.npz.*No such file"):
        open_model(tmp_path / "absent.npz")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not a regular file"):
        open_model(tmp_path)


def test_a_file_used_as_a_folder(small_model: Callable[..., Path]) -> None:
    with pytest.raises(ModelFileError, match="cannot open"):
        open_model(small_model() / "inner.npz")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission(small_model: Callable[..., Path]) -> None:
    path = small_model()
    path.chmod(0)
    with pytest.raises(ModelFileError, match="Permission denied"):
        open_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_without_a_writer_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ModelFileError, match="not a regular file"):
        open_model(tmp_path / "fifo")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_a_device() -> None:
    with pytest.raises(ModelFileError, match="not a regular file"):
        open_model("/dev/zero")


def test_a_name_with_nul() -> None:
    with pytest.raises(ModelFileError, match=r"a\\x00b: .*null"):
        open_model("a\0b")


@pytest.mark.parametrize("path", [None, 3, ["model.npz"]])
def test_a_path_that_is_none(path: Any) -> None:
    with pytest.raises(InputError, match=r"expected a str or an os\.PathLike"):
        open_model(path)


def test_every_kind_of_path(
    small_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_model()
    monkeypatch.chdir(path.parent)
    for each in (path, str(path), path.name):
        with open_model(each) as model:
            assert model.network == SMALL


# --- writing is atomic ---------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A path with an older file, which must be all that is there afterwards."""
    path = tmp_path / "folder" / "model.npz"
    path.parent.mkdir()
    path.write_bytes(b"older")
    yield path
    assert [each.name for each in path.parent.iterdir()] == ["model.npz"]
    assert path.read_bytes() == b"older"


def write_small(path: Path, weights: Any, **changes: Any) -> None:
    arguments = {
        "network": SMALL,
        "weights": weights,
        "input_spec": PRESETS["tf"],
        "labels": None,
        "provenance": {},
        **changes,
    }
    write_model(path, **arguments)


@pytest.mark.parametrize("call", ["write_npz", "fsync", "replace"])
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EIO, "I/O error")]
)
def test_a_failing_disk_leaves_nothing(
    call: str,
    failure: OSError,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    random_weights: Callable[..., Any],
) -> None:
    def fail(*arguments: Any) -> None:
        if call == "write_npz":
            arguments[0].write(b"half")
        raise failure

    monkeypatch.setattr(npz if call == "write_npz" else os, call, fail)
    with pytest.raises(MnvError, match=rf"model\.npz: cannot be written: .*{failure.strerror}.*"):
        write_small(target, random_weights(SMALL))


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_nothing(
    failure: type[BaseException],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    random_weights: Callable[..., Any],
) -> None:
    def fail(file: Any, members: Any) -> None:
        file.write(b"half")
        raise failure

    monkeypatch.setattr(npz, "write_npz", fail)
    with pytest.raises(failure):
        write_small(target, random_weights(SMALL))


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_real_limit_on_file_size(target: Path) -> None:
    """The kernel refuses the write in the middle, as on a full disk."""
    code = """
import resource, sys
import numpy as np
from mnv2_engine.network.families import mobilenet_v2
from mnv2_engine.errors import MnvError
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model
from mnv2_engine.model.packing import canonical_shapes

network = mobilenet_v2(0.1, 32, 5, divisor=4)
weights = {name: np.zeros(shape) for name, shape in canonical_shapes(network).items()}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_model(sys.argv[1], network, weights, PRESETS["tf"], None, {})
except MnvError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(target)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "cannot be written" in run.stdout, run.stderr
    assert "File too large" in run.stdout


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": ["a", "b"]}, InputError, "2 labels: expected 5"),
        ({"labels": "abcde"}, InputError, "got the text"),
        ({"labels": [1, 2, 3, 4, 5]}, InputError, "nothing but text"),
        ({"labels": ["a\nb", *"cdef"]}, InputError, "control character"),
        ({"labels": ["\ud800", *"cdef"]}, InputError, "cannot describe"),
        ({"labels": ["a" * (1 << 20)] * 5}, InputError, "expected at most"),
        ({"labels": 5}, InputError, "cannot describe"),
        ({"provenance": {"source": 3}}, InputError, "provenance"),
        ({"provenance": None}, InputError, "cannot describe"),
        ({"input_spec": PRESETS["tf"]._replace(std=(0, 0, 0))}, InputError, "std"),
        ({"input_spec": PRESETS["tf"]._replace(crop_fraction=np.nan)}, InputError, "cannot desc"),
        ({"input_spec": None}, InputError, "cannot describe"),
        ({"network": SMALL._replace(name="a\nb")}, InputError, "printable"),
        ({"network": SMALL._replace(answer="pictures")}, InputError, "answer 'pictures'"),
        ({"network": SMALL._replace(layers=SMALL.layers[1:])}, InputError, "no layer before it"),
        ({"network": mobilenet_v2(0.35, 32, 5)}, CheckpointError, "stem.weight has shape"),
        ({"weights": {}}, CheckpointError, "lack"),
    ],
    ids=str,
)
def test_wrong_arguments_leave_nothing(
    changes: dict[str, Any],
    error: type[MnvError],
    message: str,
    target: Path,
    random_weights: Callable[..., Any],
) -> None:
    with pytest.raises(error, match=message):
        write_small(target, **{"weights": random_weights(SMALL), **changes})


def test_a_model_beyond_4_gib_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch, random_weights: Callable[..., Any]
) -> None:
    monkeypatch.setattr(npz, "MAX_FILE", 1_200_000)  # as if this were 4 GiB
    with pytest.raises(InputError, match="at most 4 GiB"):
        write_small(target, random_weights(SMALL))


def test_a_missing_folder(tmp_path: Path, random_weights: Callable[..., Any]) -> None:
    with pytest.raises(MnvError, match=r"cannot be written: .*No such file"):
        write_small(tmp_path / "absent" / "model.npz", random_weights(SMALL))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", ["mkdir", "fifo"])
def test_only_a_regular_file_is_replaced(
    make: str, tmp_path: Path, random_weights: Callable[..., Any]
) -> None:
    path = tmp_path / "model.npz"
    if make == "mkdir":
        path.mkdir()
    else:
        os.mkfifo(path)
    mode = path.stat().st_mode
    with pytest.raises(InputError, match="no regular file"):
        write_small(path, random_weights(SMALL))
    assert path.stat().st_mode == mode
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(small_model: Callable[..., Path]) -> None:
    before = os.umask(0o027)
    try:
        path = small_model(name="masked.npz")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
