"""Ray Data on one machine: a cluster of three nodes that loses a worker and a node, and rates.

    python benches/many_machines.py make FOLDER PHOTOGRAPH... [--images 20000]
    python benches/many_machines.py proof FOLDER MODEL.npz [--chunk 5000]
    python benches/many_machines.py rates FOLDER MODEL.npz [--onnx MODEL.onnx] [--turns 3]

`make` cuts small photographs out of others, and spoils every thousandth. `proof` runs
`mnv2 classify --ray` on three nodes, kills a worker after the first chunk and a node after the
second, and compares every row with what one engine answers. `rates` gives images per second of 1
and 2 actors, without their start, of this engine and of onnxruntime in the same pipeline.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

SPOILED = 1000  # every such photograph is none
STORE_BYTES = 100 << 20  # of a node
START_SECONDS = 300


def make(folder: Path, photographs: list[str], images: int) -> None:
    from PIL import Image

    random.seed(0)
    pictures = [Image.open(each).convert("RGB") for each in photographs]
    for i in range(images):
        place = folder / f"{i // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        if i % SPOILED == SPOILED - 1:
            (place / f"{i:06}.jpg").write_bytes(b"\xff\xd8\xff\xe0 no photograph")
            continue
        picture = random.choice(pictures)
        width = random.randint(90, min(180, *picture.size))
        height = random.randint(90, min(180, *picture.size))
        left = random.randint(0, picture.width - width)
        top = random.randint(0, picture.height - height)
        data = BytesIO()
        picture.crop((left, top, left + width, top + height)).save(data, "jpeg", quality=85)
        (place / f"{i:06}.jpg").write_bytes(data.getvalue())


# --- the proof ----------------------------------------------------------------------------


def actors(raylet: int | None = None) -> list[int]:
    """The processes that classify, below one of this cluster's raylets or all of them."""
    import psutil

    found = []
    for process in psutil.Process(os.getpid() if raylet is None else raylet).children(True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def memory(pid: int) -> dict[str, int]:
    """Of a process in kB: resident, proportional, its own."""
    found: dict[str, int] = Counter()
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, *_ = line.split()
            found[name.rstrip(":")] = int(value)
    except OSError:
        return {}
    own = found["Private_Clean"] + found["Private_Dirty"]
    return {"rss": found["Rss"], "pss": found["Pss"], "own": own}


def be_patient() -> None:
    """Ray gives a node 30 seconds to start, which a machine at work elsewhere may exceed."""
    from ray._private import services

    get_node = services.get_node

    def patient(*arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return get_node(*arguments, **options)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise

    services.get_node = patient


def proof(folder: Path, model: str, chunk: int) -> None:
    from ray.cluster_utils import Cluster

    be_patient()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "wait": False,
            "num_cpus": 1,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
        },
    )
    try:
        others = [
            cluster.add_node(wait=False, num_cpus=1, object_store_memory=STORE_BYTES)
            for _ in range(2)
        ]
        cluster.wait_for_nodes(START_SECONDS)
        with tempfile.TemporaryDirectory() as out:
            watch(cluster, others, folder, model, chunk, out)
            check(folder, model, out)
    finally:
        cluster.shutdown()


def watch(cluster: Any, others: list[Any], folder: Path, model: str, chunk: int, out: str) -> None:
    """Run the job; end a worker within its second chunk, a node within its third."""
    command = ["classify", str(folder), "--ray", cluster.address, "--out", out, "--model", model]
    job = subprocess.Popen(
        [sys.executable, "-m", "mnv2_engine", *command, "--chunk", str(chunk)], cwd=out
    )
    most: dict[str, int] = Counter()
    killed: int | None = None
    removed = False
    seen: set[int] = set()
    while job.poll() is None:
        time.sleep(0.3)
        done = len(list(Path(out).glob("part-*")))
        working = actors()
        seen.update(working)
        for pid in working:
            for name, value in memory(pid).items():
                most[name] = max(most[name], value)
        if done >= 1 and killed is None and working:
            killed = working[0]
            os.kill(killed, signal.SIGKILL)
            print(f"killed worker {killed} of {len(working)}", flush=True)
        if done >= 2 and killed is not None and not removed:
            for node in others:
                raylet = next(
                    each.process.pid for each in node.all_processes["raylet"] if each.process
                )
                if actors(raylet):
                    print(f"removed a node with workers {actors(raylet)}", flush=True)
                    cluster.remove_node(node, allow_graceful=False)
                    removed = True
                    break
    print(f"exit code {job.returncode}; {len(seen)} processes classified", flush=True)
    print(
        "a worker at most: " + ", ".join(f"{name} {kb / 1024:.0f} MiB" for name, kb in most.items())
    )
    assert killed is not None, "no worker was killed"
    assert removed, "no node was removed"


def check(folder: Path, model: str, out: str) -> None:
    """Every photograph once, with the answer that an engine gives."""
    import pyarrow.dataset

    from mnv2_engine import Engine, InputError

    names = sorted(str(each) for each in folder.rglob("*.jpg"))
    table = pyarrow.dataset.dataset(out, format="parquet").to_table()
    found = table.column("file").to_pylist()
    assert Counter(found) == Counter(names), "photographs are missing, or there twice"
    errors = 0
    with Engine.load(model) as engine:
        for row in table.select(["file", "index", "probability", "error"]).to_pylist():
            try:
                best = engine.predict(row["file"], top_k=1)[0]
                assert (row["index"], row["error"]) == (best.index, None), row
                assert abs(row["probability"] - best.probability) < 1e-6, row
            except InputError:
                assert row["error"], row
                errors += 1
    print(f"{len(found)} rows, each photograph once, all answers as one engine's; {errors} errors")


# --- rates --------------------------------------------------------------------------------


class Timed:
    """Batches with the times of their beginning and end."""

    def __init__(self, made: type[Any], *arguments: Any) -> None:
        self._answer = made(*arguments)

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        began = time.time()
        found = self._answer(batch)
        times = {"began": [began], "ended": [time.time()], "images": [len(found)]}
        return pa.table({**times, "process": [os.getpid()]})


class Onnx:
    """onnxruntime on one thread; pixels by Pillow, or by this engine's decoder."""

    def __init__(self, model: str, decoder: str, ours: str) -> None:
        import onnxruntime

        from mnv2_engine.model.modelfile import open_model

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0]
        self._decoder = decoder
        self._spec = open_model(ours).input_spec

    def __call__(self, batch: Any) -> Any:
        import numpy as np

        answers = []
        for name in batch.column("file").to_pylist():
            try:
                frame = self._frame(name)
            except (ValueError, OSError):
                answers.append(None)
                continue
            x = (frame.astype(np.float32) / 127.5 - 1)[None]
            if self._input.shape[1] == 3:
                x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
            logits = self._session.run(None, {self._input.name: x})[0][0]
            answers.append(int(logits.argmax()))
        return answers

    def _frame(self, name: str) -> Any:
        import numpy as np

        if self._decoder == "ours":
            from mnv2_engine.images.limits import DEFAULT
            from mnv2_engine.images.pixels import encoded_pixels

            pixels = encoded_pixels(name, self._spec, (224, 224), DEFAULT)
            return np.frombuffer(pixels, np.uint8).reshape(224, 224, 3)
        from PIL import Image

        picture = Image.open(name).convert("RGB")
        scale = 256 / min(picture.size)
        width, height = (round(side * scale) for side in picture.size)
        left, top = (width - 224) // 2, (height - 224) // 2
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(picture.crop((left, top, left + 224, top + 224)))


def rates(folder: Path, model: str, onnx: str | None, images: int, turns: int) -> None:
    import pyarrow as pa
    import ray

    from mnv2_engine.ray import Classifier

    contestants: dict[str, tuple[Any, ...]] = {"mnv2_engine": (Classifier, model, "file")}
    if onnx:
        contestants["onnxruntime, Pillow"] = (Onnx, onnx, "pillow", model)
        contestants["onnxruntime, our decoder"] = (Onnx, onnx, "ours", model)
    names = sorted(str(each) for each in folder.rglob("*.jpg"))[:images]
    blocks = [pa.table({"file": names[at : at + 64]}) for at in range(0, len(names), 64)]
    ray.init(
        num_cpus=3,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
    )
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(turns):
        for name, how in contestants.items():
            for count in (1, 2):
                done = (
                    ray.data.from_arrow(blocks)
                    .map_batches(
                        Timed,
                        fn_constructor_args=how,
                        batch_size=64,
                        batch_format="pyarrow",
                        compute=ray.data.ActorPoolStrategy(size=count),
                        num_cpus=1,
                    )
                    .to_pandas()
                )
                # From when all are at work.
                began = done.groupby("process")["began"].min().max()
                done = done[done["began"] >= began]
                rate = done["images"].sum() / (done["ended"].max() - began)
                found.setdefault((name, count), []).append(rate)
    ray.shutdown()
    for (name, count), each in found.items():
        spread = [round(rate) for rate in each]
        print(f"{name}, {count} actors: {median(each):.0f} images/s, turns {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("photographs", nargs="+")
    making.add_argument("--images", type=int, default=20_000)
    proving = commands.add_parser("proof")
    proving.add_argument("folder", type=Path)
    proving.add_argument("model")
    proving.add_argument("--chunk", type=int, default=5000)
    rating = commands.add_parser("rates")
    rating.add_argument("folder", type=Path)
    rating.add_argument("model")
    rating.add_argument("--onnx")
    rating.add_argument("--images", type=int, default=2000)
    rating.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: others would go first
    if args.command == "make":
        make(args.folder, args.photographs, args.images)
    elif args.command == "proof":
        proof(args.folder.resolve(), os.path.abspath(args.model), args.chunk)
    else:
        model = os.path.abspath(args.model)
        rates(args.folder.resolve(), model, args.onnx, args.images, args.turns)


if __name__ == "__main__":
    main()
