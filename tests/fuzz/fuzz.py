"""Feeds damaged and hostile files to everything that reads files of strangers.

    python tests/fuzz/fuzz.py                     # a minute, a part of it for each reader
    python tests/fuzz/fuzz.py model --count 1000000 --seed 7
    python tests/fuzz/fuzz.py torch --guided --seconds 3600   # coverage-guided, with atheris

Readers: model (Python and C, which have to accept and refuse alike); the converters, one for each
format: torch, safetensors, tflite, onnx, h5, keras, weights (HDF5 without a model), tfjs (layers),
tfjs-graph, pb, saved-model, bundle (its variables), npz; form (multipart bodies). Those whose
package is not installed are left out. Whatever is not accepted has to end in an MnvError with one
printable line, soon. A file that does something else is kept in --keep, and the exit code is 1.
Equal seeds make equal inputs. The C reader is built with cc where there is one.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "attacks"), str(TESTS / "attacks_checkpoints")]

SECONDS_EACH = 10.0  # of a CPU, for one input, on any machine
READER = ("model_file", "verify", "pages")  # of examples/c, with kernels/model/
GRAPH = {"preprocess": "tf", "labels": "none"}
CONVERT = {"padding": "symmetric", "preprocess": "unit", "labels": "none", "resolution": 32}
# Parts of a minute; the others share the rest.
MINUTE = {"model": 0.3, "torch": 0.1, "tflite": 0.1, "npz": 0.05, "form": 0.05}


class Fault(Exception):
    """An input that did what none may do."""


# --- how inputs are made ------------------------------------------------------------------


class Seed:
    """A valid file; where in it there is structure; and a JSON member that may be rewritten."""

    def __init__(self, content: bytes, meta: tuple[int, int] | None = None) -> None:
        self.content = content
        self.meta = meta  # the range of the JSON text, with spaces at its end
        at = set(range(min(4096, len(content)))) | set(
            range(max(0, len(content) - 8192), len(content))
        )
        for marker in (b"PK\x03\x04", b"PK\x01\x02", b"\x93NUMPY"):
            found = content.find(marker)
            while found >= 0:
                at.update(range(found, min(found + 128, len(content))))
                found = content.find(marker, found + 1)
        self.structure = sorted(at)
        if meta:
            self._find_meta()

    def _find_meta(self) -> None:
        """Where the member's bytes are, and where its checksum is said: twice."""
        with zipfile.ZipFile(io.BytesIO(self.content)) as file:
            info = file.getinfo("meta.npy")
        lengths = struct.unpack_from("<HH", self.content, info.header_offset + 26)
        start = info.header_offset + 30 + sum(lengths)
        self._member = slice(start, start + info.file_size)
        crc = struct.pack("<I", info.CRC)
        self._checksums = (info.header_offset + 14, self.content.rfind(crc))

    def mutated(self, pick: random.Random) -> bytes:
        content = bytearray(self.content)
        if self.meta and pick.random() < 0.5:
            self._rewrite_meta(content, pick)
            if pick.random() < 0.8:
                return bytes(content)
        for _ in range(pick.choice((1, 1, 1, 2, 3, 8))):
            at = pick.choice(self.structure)
            if at >= len(content):
                continue
            kind = pick.random()
            if kind < 0.4:
                content[at] = pick.randrange(256)
            elif kind < 0.6:
                content[at] ^= 1 << pick.randrange(8)
            elif kind < 0.8:
                width = pick.choice((2, 4, 8))
                value = pick.choice((0, 1, 2**31, 2**32 - 1, 2**16, len(content), -1))
                content[at : at + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
            elif kind < 0.87:
                del content[at : at + pick.choice((1, 2, 4, 64, 1000))]
            elif kind < 0.94:
                other = pick.choice(self.structure)
                content[at:at] = content[other : other + pick.choice((1, 4, 30, 200))]
            else:
                del content[at:]
        return bytes(content)

    def _rewrite_meta(self, content: bytearray, pick: random.Random) -> None:
        """One value of the JSON replaced, its checksums put right: to get behind the first door."""
        start, end = self.meta  # type: ignore[misc]
        document = json.loads(content[start:end])
        for _ in range(pick.choice((1, 1, 2))):
            _change(document, pick)
        text = json.dumps(document).encode()
        if len(text) > end - start:
            return
        content[start:end] = text.ljust(end - start)
        crc = struct.pack("<I", zlib.crc32(content[self._member]))
        for at in self._checksums:
            content[at : at + 4] = crc


class Document(Seed):
    """A file around a JSON document, in which values are changed."""

    def __init__(self, document: Any, build: Callable[[Any], bytes]) -> None:
        super().__init__(build(document))
        self._document, self._build = document, build

    def mutated(self, pick: random.Random) -> bytes:
        if pick.random() < 0.25:
            return super().mutated(pick)
        document = copy.deepcopy(self._document)
        for _ in range(pick.choice((1, 1, 2, 4))):
            _change(document, pick)
        return self._build(document)


class Graph(Seed):
    """A frozen TensorFlow graph, in whose nodes things are changed."""

    def mutated(self, pick: random.Random) -> bytes:
        if pick.random() < 0.25:
            return super().mutated(pick)
        from tensorboard.compat.proto.graph_pb2 import GraphDef

        graph = GraphDef()
        graph.ParseFromString(self.content)
        for _ in range(pick.choice((1, 1, 2, 4))):
            self._change(graph.node, pick)
        return bytes(graph.SerializeToString())

    @staticmethod
    def _change(nodes: Any, pick: random.Random) -> None:
        node, other = pick.choice(nodes), pick.choice(nodes)
        kind = pick.random()
        if kind < 0.4 and node.input:
            name = pick.choice((other.name, node.name, f"{other.name}:1", f"^{other.name}", ""))
            node.input[pick.randrange(len(node.input))] = name
        elif kind < 0.5:
            node.op = other.op
        elif kind < 0.6 and len(nodes) > 1:
            nodes.remove(node)
        elif kind < 0.65:
            nodes.add().CopyFrom(node)
        elif kind < 0.7 and node.input:
            del node.input[pick.randrange(len(node.input)) :]
        elif node.op == "Const":
            tensor = node.attr["value"].tensor
            if kind < 0.8 and tensor.tensor_shape.dim:
                at = pick.randrange(len(tensor.tensor_shape.dim))
                tensor.tensor_shape.dim[at].size = pick.choice((-1, 0, 1, 2, 1 << 31, 1 << 62))
            elif kind < 0.85:
                tensor.dtype = pick.choice((0, 1, 3, 4, 7, 9, 10, 19, 99))
            else:
                content = bytearray(tensor.tensor_content)
                if content:
                    content[pick.randrange(len(content))] = pick.randrange(256)
                tensor.tensor_content = bytes(content)
        elif node.attr:
            value = node.attr[pick.choice(sorted(node.attr))]
            if value.list.i:
                value.list.i[pick.randrange(len(value.list.i))] = pick.choice((-1, 0, 2, 1 << 62))
            else:
                value.i = pick.choice((-1, 0, 1, 2, 3, 15, 1 << 40))


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 5, 7, 8, 15, 16, 17, 1000, 65535, 65536, 2**31, 2**53),
    *(0.5, 1e308, -0.0, 0.1, "", "a", "same", "float32", "int8", "relu6", [], {}, [[]], [1, 2]),
    *("\n\x1b[2J", "\ud800", "a" * 3000),
)


def _change(value: Any, pick: random.Random) -> None:
    """Replace, remove or repeat something somewhere within a JSON document."""
    while True:
        if isinstance(value, dict) and value:
            key: Any = pick.choice(list(value))
        elif isinstance(value, list) and value:
            key = pick.randrange(len(value))
        else:
            return
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and pick.random() < 0.9:
            value = inner
            continue
        kind = pick.random()
        if kind < 0.1:
            del value[key]
        elif kind < 0.2 and isinstance(value, list):
            value.insert(key, inner)
        elif isinstance(inner, int) and kind < 0.6:
            value[key] = inner + pick.choice((-8, -2, -1, 1, 2, 8, 16))
        else:
            value[key] = copy.deepcopy(pick.choice(ODD))
        return


# --- readers ------------------------------------------------------------------------------


class Target:
    """Something that reads files, its seeds, and what it may do."""

    seeds: list[Seed]

    def __init__(self, folder: Path) -> None:
        self.path = folder / "input"

    def one(self, data: bytes) -> bool:
        """Whether it was accepted. Raises Fault."""
        self.path.write_bytes(data)
        return self._read()

    def _read(self) -> bool:
        raise NotImplementedError

    def _python(self, read: Callable[[], object]) -> str | None:
        """Why it was refused, or None."""
        from nested import taken_for_damage

        from mnv2_engine.errors import MnvError

        started = time.process_time()
        try:
            read()
            return None
        except MnvError as error:
            if not str(error).isprintable() or len(str(error)) > 4000:
                raise Fault(f"its message is no short line: {str(error)[:300]!r}") from error
            if taken_for_damage(str(error)):
                raise Fault(f"a refusal was taken for damage: {str(error)[:300]!r}") from error
            return str(error)
        except Exception as error:
            raise Fault(f"{type(error).__name__}: {error}") from error
        finally:
            if time.process_time() - started > SECONDS_EACH:
                raise Fault(f"it took {time.process_time() - started:.1f} s of a CPU")


class ModelFiles(Target):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import numpy as np
        from conftest import SHARED, make_weights, small_network
        from detector_network import seeded_weights, small_detector
        from hostile_model_files import of_version_1
        from int8_network import random_int8

        from mnv2_engine.model.input_spec import PRESETS
        from mnv2_engine.model.modelfile import open_model, write_model
        from mnv2_engine.network.families import BlockShape, inverted_residuals

        self._open = open_model
        spec, labels, origin = PRESETS["tf"], list("abcde"), {"source": "x"}
        shapes = [BlockShape(4, 4, 1, expands=False), BlockShape(12, 4, 1), BlockShape(8, 8, 2)]
        tiny = inverted_residuals("tiny", (9, 8), 4, shapes, 16, [6, 5], "same")
        for name, network in (("t", tiny), ("", small_network())):
            write_model(folder / f"{name}f", network, make_weights(network), spec, labels, origin)
            weights, quantization = random_int8(network)
            write_model(folder / f"{name}i", network, weights, spec, labels, origin, quantization)
        detector = small_detector((21, 18))
        write_model(folder / "d", detector, seeded_weights(detector), spec, ["a", "b"], origin)
        self.seeds = []
        old = SHARED / "checks" / "version1"
        whole = [folder / "f", folder / "i", old / "int8.npz", old / "float16.npz"]
        for path in (folder / "tf", folder / "ti", folder / "d", *whole):
            if path.is_file():
                self.seeds.append(_with_room(path, lambda document: document))
        self.seeds.append(_with_room(folder / "f", of_version_1))
        with np.load(folder / "f") as file:
            np.savez_compressed(folder / "z.npz", **file)
        self.seeds.append(Seed((folder / "z.npz").read_bytes()))
        self._c = _c_reader(folder)
        self.compared = 0
        self._why = ctypes.create_string_buffer(1024)
        self._alike: dict[int, bool] = {}
        for seed in self.seeds:
            self.path.write_bytes(seed.content)
            if self._python(self._verified) is not None:
                raise SystemExit(f"a seed is refused: {self._python(self._verified)}")
            if self._c is not None and not self._in_c():
                print(f"C does not read a seed, so it is not compared: {self._why.value.decode()}")
                seed.is_read_by_c = False  # type: ignore[attr-defined]
        self.seeds += self.seeds[:3] * 20  # the tiny ones: the same doors, sooner reached

    def _verified(self) -> None:
        with self._open(self.path) as model:
            model.verify()

    def _opened(self, by_core: bool) -> None:
        self._open(self.path, by_core=by_core).close()

    def _in_c(self) -> bool:
        return bool(self._c(os.fsencode(self.path), self._why, len(self._why)))

    def _read(self) -> bool:
        refused = self._python(self._verified)
        plain, by_core = (self._python(partial(self._opened, each)) for each in (False, True))
        if plain != by_core:
            raise Fault(f"Python: {plain or 'accepted'}; by the C core: {by_core or 'accepted'}")
        if self._c is not None and getattr(self.seed, "is_read_by_c", True):
            self.compared += 1
            if self._in_c() != (refused is None):
                raise Fault(
                    f"Python: {refused or 'accepted'}; C: {self._why.value.decode() or 'accepted'}"
                )
        return refused is None

    seed: Seed | None = None


def _with_room(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Seed:
    """The model file with another meta, followed by spaces: room for changes."""
    from mnv2_engine.model.npz import write_npz

    with zipfile.ZipFile(path) as file:
        members = []
        for name in file.namelist():
            content = file.read(name)
            start = 10 + int.from_bytes(content[8:10], "little")
            header = eval(content[10:start])  # of a file that we wrote ourselves
            data = content[start:]
            if name == "meta.npy":
                data = json.dumps(change(json.loads(data))).encode()
                data += b" " * 4096
                header["shape"] = (len(data),)
            members.append((name[:-4], header["descr"], header["shape"], data))
    out = io.BytesIO()
    write_npz(out, members)
    whole = out.getvalue()
    text = next(data for name, _, _, data in members if name == "meta")
    at = whole.index(text)
    return Seed(whole, (at, at + len(text)))


def _c_reader(folder: Path) -> Any:
    """The function of reader.c, or None where nothing compiles it."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("no C compiler: Python alone")
        return None
    root = TESTS.parent
    sources = [str(root / "examples" / "c" / f"{name}.c") for name in READER]
    for folder_of_core in ("model", "plan"):
        sources += map(str, (root / "kernels" / folder_of_core).glob("*.c"))
    library = folder / "reader.so"
    done = subprocess.run(
        [
            *(compiler, "-std=c11", "-O1", "-shared", "-fPIC", "-ffp-contract=off"),
            *(f"-I{root / 'examples' / 'c'}", f"-I{root / 'kernels'}"),
            *(str(TESTS / "fuzz" / "reader.c"), *sources, "-lm", "-o", str(library)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"the C reader does not compile: Python alone\n{done.stderr[-500:]}")
        return None
    return ctypes.CDLL(str(library)).fuzz_read


class Converter(Target):
    def __init__(
        self,
        folder: Path,
        seeds: list[bytes] | list[Document],
        name: str,
        source: str | None = None,
        **options: Any,
    ) -> None:
        """Inputs become `folder/name`; `source` is what is converted, where that is another."""
        super().__init__(folder)
        from mnv2_engine.convert import convert

        self.path = folder / name
        self._source = folder / (source or name)
        self.seeds = [each if isinstance(each, Seed) else Seed(each) for each in seeds]
        self._out, self._convert, self._options = folder / "out.npz", convert, options
        for seed in self.seeds:
            self.path.write_bytes(seed.content)
            if refused := self._python(self._converted):
                raise SystemExit(f"a seed is refused: {refused}")

    def _converted(self) -> None:
        self._convert(self._source, self._out, **self._options)

    def _read(self) -> bool:
        return self._python(self._converted) is None


def _torch(folder: Path) -> Target:
    from conftest import small_network
    from torch_files import state_file, torchvision_state

    state = torchvision_state(small_network(padding="symmetric"))
    files = [state_file(state.arrays, container) for container in ("zip", "legacy")]
    return Converter(folder, files, "input.pt", **CONVERT)


def _safetensors(folder: Path) -> Target:
    from conftest import small_network
    from torch_files import torchvision_state

    arrays = torchvision_state(small_network(padding="symmetric")).arrays
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        content = array.astype("<f4").tobytes()
        places = [len(data), len(data) + len(content)]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": places}
        data += content

    def build(document: Any) -> bytes:
        text = json.dumps(document).encode()
        return struct.pack("<Q", len(text)) + text + data

    return Converter(folder, [Document(header, build)], "input.safetensors", **CONVERT)


def _exported(folder: Path, suffix: str) -> bytes:
    from conftest import make_weights, small_network

    from mnv2_engine.export import export
    from mnv2_engine.model.input_spec import PRESETS
    from mnv2_engine.model.modelfile import write_model

    network = small_network()
    write_model(folder / "m.npz", network, make_weights(network), PRESETS["tf"], None, {})
    export(folder / "m.npz", folder / f"m.{suffix}")
    return (folder / f"m.{suffix}").read_bytes()


def _tflite(folder: Path) -> Target:
    from detector_network import seeded_weights, small_detector
    from test_convert_detector_tflite import detector

    from mnv2_engine.model.input_spec import PRESETS
    from mnv2_engine.model.modelfile import open_model, write_model

    network = small_detector()
    write_model(folder / "d.npz", network, seeded_weights(network), PRESETS["tf"], None, {})
    with open_model(folder / "d.npz") as model:
        seeds = [_exported(folder, "tflite"), detector(model), detector(model, quantised=True)]
    return Converter(folder, seeds, "input.tflite", **GRAPH)


def _onnx(folder: Path) -> Target:
    return Converter(folder, [_exported(folder, "onnx")], "input.onnx", **GRAPH)


def _network() -> tuple[Any, Any]:
    from conftest import make_weights, small_network

    network = small_network()
    return network, make_weights(network)


def _h5(folder: Path) -> Target:
    import graph_files

    network, weights = _network()

    def build(document: Any) -> bytes:
        return graph_files.keras_h5(network, weights, document)

    seeds = [Document(graph_files.config(network), build)]
    return Converter(folder, seeds, "input.h5", **GRAPH)


def _keras(folder: Path) -> Target:
    import graph_files

    network, weights = _network()
    whole = zipfile.ZipFile(io.BytesIO(graph_files.keras_archive(network, weights)))
    values = whole.read("model.weights.h5")

    def build(document: Any) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("metadata.json", '{"keras_version": "3.5.0"}')
            archive.writestr("config.json", json.dumps(document))
            archive.writestr("model.weights.h5", values)
        return out.getvalue()

    seeds = [Document(graph_files.config(network), build)]
    return Converter(folder, seeds, "input.keras", **GRAPH)


def _weights(folder: Path) -> Target:
    import graph_files

    seeds = [graph_files.keras_weights(*_network())]
    return Converter(folder, seeds, "input.weights.h5", resolution=32, **GRAPH)


def _tfjs(folder: Path) -> Target:
    import graph_files

    seeds = [Document(json.loads(graph_files.tfjs_layers(*_network(), folder)), _json)]
    return Converter(folder, seeds, "model.json", **GRAPH)


def _tfjs_graph(folder: Path) -> Target:
    import graph_files

    seeds = [Document(json.loads(graph_files.tfjs_graph(*_network(), folder)), _json)]
    if find_spec("tensorboard") is not None:
        import detection_graphs

        for index, each in enumerate(_detectors()):
            model = detection_graphs.graph_model(each, folder, index % 2 == 0, f"{index}.bin")
            seeds.append(Document(json.loads(model.read_bytes()), _json))
    return Converter(folder, seeds, "model.json", **GRAPH)


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _pb(folder: Path) -> Target:
    import graph_files

    seeds = [Graph(graph_files.frozen(*_network())), *map(Graph, _detectors())]
    return Converter(folder, seeds, "input.pb", **GRAPH)


def _detectors() -> list[bytes]:
    import detection_graphs

    made = [{}, {"softmax": True, "background": False}, {"optimised": True, "suppressed": False}]
    return [detection_graphs.detector(**each) for each in made]


def _saved_model(folder: Path) -> Target:
    import graph_files

    content = graph_files.saved_model(*_network(), folder).read_bytes()
    return Converter(folder, [content], "saved_model.pb", **GRAPH)


def _bundle(folder: Path) -> Target:
    import graph_files

    graph_files.saved_model(*_network(), folder)
    name = "variables/variables.index"
    seeds = [(folder / name).read_bytes()]
    return Converter(folder, seeds, name, source="saved_model.pb", **GRAPH)


def _npz(folder: Path) -> Target:
    import numpy as np
    from conftest import make_weights, small_network

    np.savez(folder / "w.npz", **make_weights(small_network()))
    options = {**CONVERT, "padding": "same"}
    return Converter(folder, [(folder / "w.npz").read_bytes()], "input.npz", **options)


class Forms(Target):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from asgi_client import form

        body, _ = form(("note", None, b"a dog"), ("image", "dog.jpg", bytes(200)), boundary="b")
        self.seeds = [Seed(body)]

    def one(self, data: bytes) -> bool:
        from mnv2_engine.serve.multipart import parts_of
        from mnv2_engine.serve.request import Refused

        try:
            parts = parts_of(data, b"b")
        except Refused as error:
            if error.status != 400 or not error.reason.isprintable():
                raise Fault(error.reason) from error
            return False
        except Exception as error:
            raise Fault(f"{type(error).__name__}: {error}") from error
        if not all(0 <= part.start <= part.end <= len(data) for part in parts):
            raise Fault("a part lies outside of the body")
        return True


TARGETS: dict[str, Callable[[Path], Target]] = {
    "model": ModelFiles,
    "torch": _torch,
    "safetensors": _safetensors,
    "tflite": _tflite,
    "onnx": _onnx,
    "h5": _h5,
    "keras": _keras,
    "weights": _weights,
    "tfjs": _tfjs,
    "tfjs-graph": _tfjs_graph,
    "pb": _pb,
    "saved-model": _saved_model,
    "bundle": _bundle,
    "npz": _npz,
    "form": Forms,
}


NEEDS = {
    "tflite": ("tflite",),
    "onnx": ("onnx",),
    **dict.fromkeys(("h5", "keras", "weights"), ("h5py",)),
    **dict.fromkeys(("pb", "saved-model", "bundle"), ("tensorboard",)),
}
REST = (1.0 - sum(MINUTE.values())) / (len(TARGETS) - len(MINUTE))


# --- running ------------------------------------------------------------------------------


def run(name: str, target: Target, args: argparse.Namespace, seconds: float) -> int:
    """Faults found with random changes."""
    pick = random.Random(args.seed)
    end = time.monotonic() + seconds
    done = accepted = faults = 0
    while (done < args.count) if args.count else (time.monotonic() < end):
        seed = pick.choice(target.seeds)
        data = seed.mutated(pick)
        target.seed = seed  # type: ignore[attr-defined]
        done += 1
        try:
            accepted += target.one(data)
        except Fault as error:
            faults += 1
            args.keep.mkdir(parents=True, exist_ok=True)
            path = args.keep / f"{name}-{args.seed}-{done}"
            path.write_bytes(data)
            print(f"{path}: {error}", flush=True)
            if faults >= 20:
                break
        if done % 10000 == 0:
            print(f"{name}: {done} inputs, {accepted} accepted, {faults} faults", flush=True)
    compared = f", {target.compared} compared with C" if isinstance(target, ModelFiles) else ""
    print(f"{name}: {done} inputs, {accepted} accepted{compared}, {faults} faults", flush=True)
    return faults


def guided(target: Target, args: argparse.Namespace, seconds: float, folder: Path) -> None:
    """Coverage-guided; atheris ends the process."""
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir()
    for index, seed in enumerate(target.seeds):
        (corpus / str(index)).write_bytes(seed.content)
    limits = [f"-max_total_time={round(seconds)}", "-max_len=2000000", "-rss_limit_mb=4096"]
    if args.count:
        limits = [f"-atheris_runs={args.count}", *limits[1:]]
    atheris.Setup([sys.argv[0], str(corpus), f"-seed={args.seed + 1}", *limits], target.one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("reader", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, default=0, help="inputs; else --seconds")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"))
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    args = parser.parse_args()
    unknown = {*args.reader} - {*TARGETS}
    if unknown:
        parser.error(f"no reader {', '.join(unknown)}: expected some of {', '.join(TARGETS)}")
    warnings.simplefilter("ignore")
    if args.guided:
        import atheris

        with atheris.instrument_imports(include=["mnv2_engine"]):
            import mnv2_engine.convert
            import mnv2_engine.model.modelfile
            import mnv2_engine.serve.multipart  # noqa: F401
    faults = 0
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    for name in args.reader or list(TARGETS):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            share = 1 / len(args.reader) if args.reader else MINUTE.get(name, REST)
            seconds = args.seconds * share
            missing = [each for each in NEEDS.get(name, ()) if find_spec(each) is None]
            if missing:
                print(f"{name}: left out, as {', '.join(missing)} is not installed")
                continue
            target = TARGETS[name](Path(folder))
            if args.guided:
                guided(target, args, seconds, Path(folder))
            else:
                faults += run(name, target, args, seconds)
    return int(faults > 0)


if __name__ == "__main__":
    raise SystemExit(main())
