"""Batches of photographs as Ray gives them; with --every, jobs on clusters started here."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_network import seeded_weights, small_detector

from mnv2_engine import Engine, InputError, MnvError, UnsupportedError
from mnv2_engine.cli import main, on_ray
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.modelfile import write_model

pa = pytest.importorskip("pyarrow", reason="pyarrow (the extra ray) is absent")
Image = pytest.importorskip("PIL.Image")

from mnv2_engine.ray import Classifier, Detector, Embedder, memory, shipping, sources  # noqa: E402
from mnv2_engine.ray import batches as module  # noqa: E402

LABELS = ["ant", "bee", "cat", "dog", "eel"]
BENCH = Path(__file__).parents[1] / "benches" / "many_machines.py"


@pytest.fixture(autouse=True)
def away_from_the_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_engines", {})


@pytest.fixture
def model(small_model) -> str:
    return str(small_model(labels=LABELS))


@pytest.fixture
def detector(tmp_path) -> str:
    network = small_detector()
    spec = PRESETS["tf"]._replace(crop_fraction=1.0, fit="squash")
    provenance = {"source": "seeded"}
    path = tmp_path / "detector.npz"
    write_model(path, network, seeded_weights(network), spec, LABELS[:2], provenance)
    return str(path)


def encoded(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "png")
    return data.getvalue()


@pytest.fixture
def photographs(tmp_path) -> list[str]:
    """Paths: two photographs, and one that is none."""
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for i, path in enumerate(paths):
        Path(path).write_bytes(b"no photograph" if i == 1 else encoded(i))
    return paths


def is_error(table: Any) -> list[bool]:
    return [each is not None for each in table.column("error").to_pylist()]


def test_paths_become_classes(model, photographs):
    found = Classifier(model, top_k=3)(pa.table({"file": photographs, "id": [7, 8, 9]}))
    assert found.column_names == [
        *("file", "id", "label", "index", "probability"),
        *("top_labels", "top_indices", "top_probabilities", "error"),
    ]
    assert found.column("file").to_pylist() == photographs
    assert found.column("id").to_pylist() == [7, 8, 9]
    with Engine.load(model) as engine:
        for path, row in zip(photographs, found.to_pylist(), strict=True):
            if path.endswith("1.png"):
                assert path in row["error"]
                assert {row[name] for name in ("label", "index", "top_labels")} == {None}
                continue
            expected = engine.predict(path, top_k=3)
            assert (row["label"], row["index"], row["error"]) == (*expected[0][:2], None)
            assert row["probability"] == pytest.approx(expected[0].probability)
            assert row["top_labels"] == [each.label for each in expected]
            assert row["top_indices"] == [each.index for each in expected]
            assert row["top_probabilities"] == pytest.approx([p.probability for p in expected])


def test_bytes_become_features(model):
    batch = {"bytes": np.array([encoded(0), b"", encoded(2)], object), "id": np.arange(3)}
    found = Embedder(model)(batch)
    assert found.column_names == ["id", "features", "error"]
    assert is_error(found) == [False, True, False]
    with Engine.load(model) as engine:
        features = engine.info.network.features
        assert found.schema.field("features").type == pa.list_(pa.float32(), features)
        rows = found.column("features").to_pylist()
        assert rows[1] is None
        for i in (0, 2):
            assert np.array_equal(np.float32(rows[i]), engine.embed(encoded(i)))


def test_a_table_of_bytes_and_one_of_pixels_are_answered_alike(model):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)
    data = [encoded(0), None]
    answers = Classifier(model)(pa.table({"bytes": pa.array(data, pa.binary())})).to_pylist()
    assert answers[1]["error"] == "there is no photograph in this row"
    of_pixels = Classifier(model)({"image": pixels}).to_pylist()
    assert of_pixels[0] == answers[0]
    assert Classifier(model)({"image": pixels[:0]}).num_rows == 0


def test_paths_become_objects(detector, photographs):
    threshold = 0.5
    found = Detector(detector, threshold=threshold)(pa.table({"file": photographs}))
    assert found.column_names == ["file", "label", "index", "score", "box", "error"]
    assert found.schema.field("box").type == pa.list_(pa.list_(pa.float32(), 4))
    assert is_error(found) == [False, True, False]
    rows = found.to_pylist()
    assert {rows[1][name] for name in ("label", "index", "score", "box")} == {None}
    with Engine.load(detector) as engine:
        for path, row in list(zip(photographs, rows, strict=True))[::2]:
            expected = engine.detect(path, threshold)
            assert len(expected) > 1
            assert row["label"] == [each.label for each in expected]
            assert row["index"] == [each.index for each in expected]
            assert row["score"] == pytest.approx([each.score for each in expected])
            for box, each in zip(row["box"], expected, strict=True):
                assert box == pytest.approx(list(each.box), rel=1e-6)
    best = Detector(detector, threshold=threshold, max_objects=1)({"file": np.array(photographs)})
    assert [len(row["score"] or []) for row in best.to_pylist()] == [1, 0, 1]
    (nothing,) = Detector(detector, threshold=1.0)({"bytes": [encoded(0)]}).to_pylist()
    assert (nothing["box"], nothing["error"]) == ([], None)
    empty = Detector(detector)(pa.table({"file": pa.array([], pa.string())}))
    assert empty.schema.types == found.schema.types
    with pytest.raises(InputError, match="threshold 2"):
        Detector(detector, threshold=2)


def test_a_model_without_such_answers_is_refused_before_an_actor_starts(model, detector):
    for answers, wrong, instead in (
        (Classifier, detector, "`detect`"),
        (Embedder, detector, "`detect`"),
        (Detector, model, "`predict`"),
    ):
        for use in (answers, answers.ray_remote_args):
            with pytest.raises(UnsupportedError, match=instead):
                use(wrong)
    assert Detector.ray_remote_args(detector)["num_cpus"] == 1


def test_the_first_column_with_a_photograph_counts(model):
    table = pa.table(
        {
            "jpg": pa.array([None, encoded(1), None], pa.binary()),
            "png": pa.array([encoded(0), None, None], pa.binary()),
        }
    )
    found = Classifier(model, ("png", "jpg", "webp"))(table)
    assert is_error(found) == [False, False, True]
    expected = Classifier(model)({"bytes": np.array([encoded(0), encoded(1)], object)})
    assert found.slice(0, 2).to_pylist() == expected.to_pylist()


def test_a_column_that_is_not_there(model):
    with pytest.raises(InputError, match="no column picture in a batch with the columns a, bytes"):
        Classifier(model, "picture")(pa.table({"a": [1], "bytes": [b""]}))
    with pytest.raises(InputError, match="column="):
        Classifier(model)(pa.table({"a": [1]}))


def test_one_engine_a_process(model):
    first, second = Classifier(model), Embedder(model)
    assert first._engine is second._engine
    assert Classifier(model, decode="reduced")._engine is not first._engine


def test_what_an_actor_asks_for(model):
    asked = Classifier.ray_remote_args(model, photograph=(4000, 3000))
    assert set(asked) == {"num_cpus", "memory"}
    assert asked["num_cpus"] == 1
    least = memory.PROCESS_BYTES + memory.BATCH_BYTES
    with Engine.load(model) as engine:
        plan = engine.photo_plan(4000, 3000, "jpeg", progressive=True)
        assert asked["memory"] == least + plan.peak_bytes
    assert Embedder.ray_remote_args(model, threads=2)["num_cpus"] == 2


def test_a_model_file_goes_where_it_is_absent(model, monkeypatch, tmp_path):
    monkeypatch.setattr(shipping.tempfile, "gettempdir", lambda: str(tmp_path))
    data = Path(model).read_bytes()
    shipped = shipping.ShippedModel(model, shipping.sha256(data).hexdigest(), "a reference")
    assert shipped.local() == model
    Path(model).write_bytes(b"another")

    class Ray:
        asked = 0

        @staticmethod
        def get(reference: str) -> bytes:
            assert reference == "a reference"
            Ray.asked += 1
            return data

    monkeypatch.setitem(sys.modules, "ray", Ray)
    local = shipped.local()
    assert local != model
    assert Path(local).read_bytes() == data
    assert shipped.local() == local
    assert Ray.asked == 1
    Path(local).parent.chmod(0o777)
    with pytest.raises(MnvError, match="this user alone"):
        shipped.local()


# Sources


def test_chunks_of_photographs(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    names = [folder / f"{i}.jpg" for i in range(5)] + [folder / "deep" / f"{i}.png" for i in "67"]
    for name in names:
        name.touch()
    found = list(sources.chunks([str(folder)], 3))
    assert [chunk.kind for chunk in found] == ["files"] * 3
    assert [chunk.rows for chunk in found] == [3, 3, 1]
    assert [name for chunk in found for name in chunk.names] == [str(each) for each in names]
    (by_glob,) = sources.chunks([str(folder / "*.jpg")], 9)
    assert list(by_glob.names) == [str(each) for each in names[:5]]


def test_chunks_of_parquet_and_tars(tmp_path):
    import pyarrow.parquet

    for i in range(3):
        pyarrow.parquet.write_table(
            pa.table({"bytes": [b"x"] * (i + 1)}), tmp_path / f"{i}.parquet"
        )
    found = list(sources.chunks([str(tmp_path)], 3))
    assert [(chunk.kind, len(chunk.names), chunk.rows) for chunk in found] == [
        ("parquet", 2, 3),
        ("parquet", 1, 3),
    ]
    (tmp_path / "a.tar").write_bytes(bytes(1000))
    (chunk,) = sources.chunks([str(tmp_path / "*.tar")], 100)
    assert chunk == ("tars", [str(tmp_path / "a.tar")], None)


@pytest.mark.parametrize("source", ["s3://bucket/photos", "nothing*.jpg", "absent.tar"])
def test_sources_that_are_not_read(source):
    with pytest.raises(InputError):
        list(sources.chunks([source], 3))


# The command


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *(("auto", True), ("ray://head:10001", True), ("10.0.0.1:6379", True), ("[::1]:80", True)),
        *(("photos", False), ("photos/", False), ("*.tar", False), ("/a/b.parquet", False)),
    ],
)
def test_addresses_and_sources_are_told_apart(text, is_one):
    assert bool(on_ray.ADDRESS.fullmatch(text)) == is_one


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify", "--ray", "--out", "answers"],
        ["classify", "--ray", "photos/"],
        ["detect", "--ray", "photos/"],
        ["embed", "--ray", "photos/", "--out", "answers", "--threads", "auto"],
    ],
)
def test_what_a_job_needs(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("mnv2: error: ")


@pytest.mark.parametrize("options", [["--chunk", "5"], ["--column", "a"], ["--out", "folder"]])
def test_options_of_jobs_need_ray(options, capsys):
    for command in ("classify", "detect"):
        with pytest.raises(SystemExit):
            main([command, "photo.jpg", *options])
        assert "ray" in capsys.readouterr().err


def test_a_drawing_is_not_for_ray(capsys):
    with pytest.raises(SystemExit):
        main(["detect", "--ray", "photo.jpg", "--out", "objects", "--draw", "found.png"])
    assert "--draw" in capsys.readouterr().err


def test_without_ray_the_extra_is_named(photographs, model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ["classify", "--ray", *photographs, "--out", "answers", "--model", model]
    assert main(command) == 2
    assert "mnv2-engine[ray]" in capsys.readouterr().err


# On a cluster


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    """Ray on this machine."""
    if not request.config.getoption("--every"):
        pytest.skip("starts a Ray cluster; --every does")
    ray = pytest.importorskip("ray", reason="Ray (the extra test-ray) is absent")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.chdir(tmp_path_factory.getbasetemp())
    ray.init(
        num_cpus=2,
        object_store_memory=100 << 20,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=str(tmp_path_factory.mktemp("r")),
    )
    yield ray
    ray.shutdown()


def rows_of(out: str) -> list[dict[str, Any]]:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(out, format="parquet").to_table().to_pylist()


@pytest.mark.filterwarnings("ignore")
def test_jobs_on_folders_parquet_and_tars(cluster, model, detector, photographs, tmp_path, capsys):
    import pyarrow.parquet

    data = [Path(path).read_bytes() for path in photographs]
    table = pa.table({"id": [1, 2, 3], "photo": pa.array(data, pa.binary())})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for i, content in enumerate(data):
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with Engine.load(model) as engine:
        expected = [
            getattr(each[0], "index", None) if isinstance(each, list) else None
            for each in engine.predict(photographs, top_k=1, errors="return")
        ]
    for name, source, more in (
        ("files", "*.png", ["--chunk", "2"]),
        ("parquet", "a.parquet", ["--column", "photo"]),
        ("tars", "b.tar", []),
    ):
        command = ["classify", "--ray", source, "--out", name, "--model", model, "--json", *more]
        assert main(command) == 1
        result = json.loads(capsys.readouterr().out)
        assert (result["photographs"], result["errors"], result["done_before"]) == (3, 1, 0)
        rows = sorted(rows_of(name), key=lambda row: row.get("id") or row["file"])
        assert [row["index"] for row in rows] == expected
        # What is done stays done; a part that is lost is done again.
        assert main(command) == 1
        assert json.loads(capsys.readouterr().out)["done_before"] == 3
        part = Path(name) / "part-000000"
        part.rename(Path(name) / "_doing")
        assert main(command) == 1
        assert sorted(rows_of(name), key=lambda row: row.get("id") or row["file"]) == rows
        assert main([*command, "--top-k", "2"]) == 2
        capsys.readouterr()
    assert main(["embed", "--ray", "*.png", "--out", "features", "--model", model]) == 1
    assert len(rows_of("features")) == 3
    command = ["detect", "--ray", "*.png", "--out", "objects", "--model", detector]
    assert main([*command, "--threshold", "0.4", "--max-objects", "2"]) == 1
    capsys.readouterr()
    found = sorted(rows_of("objects"), key=lambda row: row["file"])
    with Engine.load(detector) as engine:
        for row in found[::2]:
            expected = engine.detect(row["file"], 0.4, 2)
            assert row["score"] == pytest.approx([each.score for each in expected])
    assert found[1]["error"]
    assert found[1]["box"] is None
    assert main(["classify", "--ray", "*.png", "--out", "none", "--model", detector]) == 2
    assert "`detect`" in capsys.readouterr().err
    assert not Path("none").exists()


@pytest.mark.filterwarnings("ignore")
def test_readers_of_ray_and_a_model_that_travels(cluster, model, photographs):
    from mnv2_engine.ray import ship

    found = (
        cluster.data.read_binary_files(photographs, include_paths=True)
        .map_batches(
            Classifier,
            fn_constructor_args=(ship(model),),
            compute=cluster.data.ActorPoolStrategy(size=1),
            **Classifier.ray_remote_args(model),
        )
        .take_all()
    )
    assert len(found) == 3
    assert [row["path"][-5:] for row in found if row["error"]] == ["1.png"]


def test_three_nodes_lose_a_worker_and_a_node(request, model, shared, tmp_path):
    if not request.config.getoption("--every"):
        pytest.skip("starts a Ray cluster of three nodes; --every does")
    pytest.importorskip("ray", reason="Ray (the extra test-ray) is absent")
    images = sorted(str(each) for each in (shared / "images").glob("*.JPEG"))
    folder = tmp_path / "photos"
    bench = [sys.executable, str(BENCH)]
    subprocess.run([*bench, "make", str(folder), *images, "--images", "6000"], check=True)
    subprocess.run(
        [*bench, "proof", str(folder), model, "--chunk", "1500"], check=True, timeout=600
    )
