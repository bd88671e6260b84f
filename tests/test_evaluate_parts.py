"""The parts of `mnv2 evaluate`: names of classes, where they are said, statistics, the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2_engine.errors import InputError, MnvError
from mnv2_engine.evaluate.answers import answer, difference
from mnv2_engine.evaluate.classes import ModelClasses
from mnv2_engine.evaluate.dataset import survey
from mnv2_engine.evaluate.record import Journal
from mnv2_engine.evaluate.report import histogram_rows
from mnv2_engine.evaluate.statistics import Z_95, Histogram, wilson
from mnv2_engine.evaluate.tally import Tally
from mnv2_engine.model.labels import imagenet, imagenet_synsets

LABELS = ["ant, pismire", "bee", "tiger cat", "tiger", "crane, bird", "crane, machine"]
CLASSES = ModelClasses(LABELS, 6)


# --- names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("ant, pismire", 0),
        ("Pismire", 0),
        ("BEE", 1),
        ("tiger_cat", 2),
        ("tiger  cat", 2),
        ("tiger", 3),
        ("crane", None),  # two of them
        ("machine", 5),
        ("wasp", None),
        ("1", None),
        ("", None),
    ],
)
def test_a_class_is_found_by_its_label_or_a_synonym(name, index):
    assert CLASSES.named(name) == index


def test_several_classes_of_a_name_are_none():
    assert CLASSES.is_ambiguous("crane")
    assert not CLASSES.is_ambiguous("bee")
    # A whole label goes before another's synonym.
    assert ModelClasses(["cat, tiger", "tiger"], 2).named("tiger") == 1


def test_indices_have_to_fit():
    assert CLASSES.numbered("5") == 5
    assert CLASSES.numbered("005") == 5
    assert CLASSES.numbered("bee") is None
    with pytest.raises(InputError, match="'6' is no index of the model's 6 classes, 0 to 5"):
        CLASSES.numbered("6")
    assert ModelClasses(None, 6, -1).numbered("6") == 5
    with pytest.raises(InputError, match=r"'0' \(with the offset -1: -1\) is no index"):
        ModelClasses(None, 6, -1).numbered("0")


@pytest.mark.parametrize("labels", [None, imagenet(1001)])
def test_the_offset_of_1001_classes_is_not_guessed(labels):
    with pytest.raises(InputError, match="give --index-offset 1 where the indices count the 1000"):
        ModelClasses(labels, 1001).numbered("7")
    assert ModelClasses(labels, 1001, 1).numbered("7") == 8
    assert ModelClasses(labels, 1001, 0).numbered("7") == 7
    assert ModelClasses(None, 1000).numbered("7") == 7


def test_imagenets_labels_have_wordnet_ids():
    ids = imagenet_synsets()
    assert len(ids) == 1000
    assert list(ids) == sorted(set(ids))
    for classes, background in ((1000, 0), (1001, 1)):
        names = ModelClasses(imagenet(classes), classes)
        assert [names.named(each) for each in ids] == list(range(background, classes))
        assert names.named("junco") == 13 + background
        assert names.named("background") == (0 if background else None)
    assert not ModelClasses((*imagenet(1000)[:-1], "other"), 1000).has_ids


def test_the_ids_are_those_of_photographs_whose_classes_are_known(shared):
    stored = np.load(shared / "images" / "references.npz")
    names = ModelClasses(imagenet(1000), 1000)
    found = [names.named(str(file).partition("_")[0]) for file in stored["files"]]
    assert found == stored["labels"].tolist()


def test_labels_may_carry_wordnet_ids():
    names = ModelClasses(["n00000002 ant", "n00000001: bee, honeybee", "n00000003"], 3)
    assert [names.named(name) for name in ("n00000001", "honeybee", "n00000003")] == [1, 1, 2]
    assert names.named("n00000004") is None
    assert not CLASSES.has_ids


# --- where they are said ------------------------------------------------------------------


def folder_of(path: Path, *names: str) -> str:
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return str(path)


def truths(dataset) -> dict[str, int | None]:
    return {sample.name: sample.truth for sample in dataset.samples()}


def test_sub_folders_are_found_to_be_classes(tmp_path):
    folder = folder_of(tmp_path, "bee/1.png", "ant/2.png", "ant/deep/3.png", "wasp/4.png")
    dataset = survey(folder, "auto", CLASSES)
    assert (dataset.truth.source, dataset.images, dataset.with_truth) == ("folder", 4, 3)
    assert truths(dataset) == {
        "ant/2.png": 0,
        "ant/deep/3.png": 0,
        "bee/1.png": 1,
        "wasp/4.png": None,
    }
    assert dataset.unmatched == {"wasp": 1}
    assert dataset.notes == (
        "images whose class is none of the model's, and that count towards no accuracy: 1 ('wasp')",
    )


def test_beginnings_of_names_are_found_to_be_classes(tmp_path):
    folder = folder_of(tmp_path, "tiger_cat_1.png", "tiger-cat 2.png", "tiger_3.png", "bee7.png")
    dataset = survey(folder, "auto", CLASSES)
    assert dataset.truth.source == "prefix"
    assert truths(dataset) == {
        "bee7.png": 1,
        "tiger-cat 2.png": 2,
        "tiger_3.png": 3,
        "tiger_cat_1.png": 2,
    }


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["bee_1.png", "wedding.png"], "only 1 of 2 file names begin with a class"),
        (["bee/1.png", "a/1.png", "b/1.png"], "only 1 of 3 sub-folders have the name of a class"),
        (["0/1.png", "2019/1.png"], "the sub-folders have numbers for names"),
        (["x.png", "2_x.png"], "neither sub-folders nor the beginnings of file names"),
    ],
)
def test_nothing_is_guessed_from_names_that_are_few(names, note, tmp_path):
    dataset = survey(folder_of(tmp_path, *names), "auto", CLASSES)
    assert (dataset.truth.source, dataset.with_truth) == ("none", 0)
    assert note in dataset.notes[0]


def test_numbers_are_indices_where_that_is_said(tmp_path):
    dataset = survey(folder_of(tmp_path / "a", "0/1.png", "5/1.png"), "folder", CLASSES)
    assert truths(dataset) == {"0/1.png": 0, "5/1.png": 5}
    dataset = survey(folder_of(tmp_path / "b", "4_1.png", "7.png"), "prefix", CLASSES)
    assert truths(dataset) == {"4_1.png": 4, "7.png": None}
    # Found by themselves, the other sub-folders are classes, not indices.
    dataset = survey(folder_of(tmp_path / "c", "ant/1.png", "3/1.png"), "auto", CLASSES)
    assert truths(dataset) == {"3/1.png": None, "ant/1.png": 0}
    with pytest.raises(InputError, match="'9' is no index of the model's 6 classes"):
        survey(folder_of(tmp_path / "d", "9/1.png"), "folder", CLASSES)


def csv_file(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        "a.png,bee\nin/b.png,3\n",
        "\ufefffile,class\r\na.png,Bee\r\nin/b.png,tiger\r\n",
        'label,size,image\nbee,9,./a.png\n\n"tiger",8,in/b.png\n',
    ],
)
def test_a_csv_says_the_classes(text, tmp_path):
    folder = folder_of(tmp_path / "images", "a.png", "in/b.png", "c.png")
    dataset = survey(folder, csv_file(tmp_path / "truth.csv", text), CLASSES)
    assert truths(dataset) == {"a.png": 1, "c.png": None, "in/b.png": 3}
    assert dataset.notes == ("images of which no class is said: 1 of 3",)


def test_a_csv_in_the_folder_is_found(tmp_path):
    folder = folder_of(tmp_path, "bee/a.png", "bee/b.png")
    path = csv_file(tmp_path / "classes.csv", "bee/a.png,0\nbee/gone.png,0\n")
    dataset = survey(folder, "auto", CLASSES)
    assert dataset.truth.source == path
    assert truths(dataset) == {"bee/a.png": 0, "bee/b.png": None}
    assert f"{path}: 1 of its images are not in the folder" in dataset.notes
    assert truths(survey(folder, "none", CLASSES)) == {"bee/a.png": None, "bee/b.png": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png,bee\na.png,ant\n", r"line 2: 'a.png' has the class 'ant' here and 'bee' before"),
        ("a.png,bee,7\n", "line 1 has 3 columns: expected an image and its class"),
        ("a.png\n", "line 1 has 1 columns"),
        ("a.png,\n", "line 1: class is blank"),
        ('"a.png,bee\n', "line 1: unexpected end of data"),
        ("a.png,wasp\n", r"none is a class of the model \('wasp'\)"),
        ("b.png,bee\n", "say the class of none of the images"),
    ],
)
def test_a_csv_that_is_wrong_is_refused(text, message, tmp_path):
    folder = folder_of(tmp_path / "images", "a.png")
    with pytest.raises(InputError, match=message):
        survey(folder, csv_file(tmp_path / "truth.csv", text), CLASSES)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        survey(str(tmp_path), "auto", CLASSES)
    with pytest.raises(InputError, match="is not there: expected a folder"):
        survey(str(tmp_path / "absent"), "auto", CLASSES)
    file = folder_of(tmp_path, "a.png") + "/a.png"
    with pytest.raises(InputError, match="is a file: expected a folder"):
        survey(file, "auto", CLASSES)
    with pytest.raises(InputError, match=r"cannot be read: .*--classes takes folder, prefix"):
        survey(str(tmp_path), "flder", CLASSES)


@given(st.integers(1, 60), st.integers(1, 70))
def test_a_limit_is_spread_evenly(images, limit):
    from mnv2_engine.evaluate import dataset as module
    from mnv2_engine.evaluate.truth import NoTruth

    with pytest.MonkeyPatch.context() as patch:
        listed = [(f"{i}.png", f"/{i}.png", None) for i in range(images)]
        patch.setattr(module, "_images", lambda folder: iter(listed))
        made = module.Dataset("", NoTruth(), images, limit, 0, {}, "", ())
        found = [int(sample.name.partition(".")[0]) for sample in made.samples()]
    assert len(found) == made.size == min(images, limit)
    gaps = np.diff([*found, images])
    assert found[0] == 0
    assert gaps.max() - gaps.min() <= 1


# --- statistics ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (21, 24, 0.690, 0.957)],
)
def test_wilsons_interval_is_the_published_one(hits, of, low, high):
    found = wilson(hits, of)
    assert (found.share, found.low, found.high) == pytest.approx((hits / of, low, high), abs=5e-4)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_the_ends_of_wilsons_interval_are_just_not_refuted(of, part):
    found = wilson(round(of * part), of)
    for end in (found.low, found.high):
        if 0 < end < 1:
            error = Z_95 * np.sqrt(end * (1 - end) / of)  # of a share that really is `end`
            assert abs(found.share - end) == pytest.approx(error, rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.floats(-12, 8), st.floats(0, 1))
def test_quantiles_are_near_those_of_all_values(seed, count, octave, zeros):
    random = np.random.default_rng(seed)
    values = np.abs(random.normal(size=count)) * 2.0**octave
    values[random.random(count) < zeros] = 0
    histogram, restored = Histogram(), Histogram()
    for part in np.array_split(values, 3):
        histogram.add(part)
        one = Histogram()
        one.add(part)
        restored.add_json(json.loads(json.dumps(one.to_json())))
    assert histogram.to_json() == restored.to_json()
    assert len(histogram) == count
    for q in (0.5, 0.9, 0.99, 1.0):
        low, high = (np.quantile(values, q, method=m) for m in ("lower", "higher"))
        assert low * 0.95 <= histogram.quantile(q) <= max(high, 2.0**-30) * 1.05
    octaves = dict(histogram.octaves())
    assert sum(octaves.values()) == count
    for end, found in octaves.items():
        assert found == np.count_nonzero(
            (values >= end / 2) & (values < end) if end else values == 0
        )


def test_a_stored_histogram_that_is_none_is_refused():
    for stored in ([0, 0, [-1]], [-1, 0, []], [0, 959, [1, 1]], [0, 0], ["a", 0, []]):
        with pytest.raises((ValueError, TypeError)):
            Histogram().add_json(stored)


def test_a_histogram_is_drawn():
    rows = histogram_rows([(0.0, 1), (0.25, 100), (0.5, 0), (1.0, 400), (2.0, 1)])
    assert [row.split()[:3] for row in rows] == [
        ["<", "0.25", "20.12%"],
        ["<", "0.5", "0.00%"],
        ["<", "1", "79.68%"],
        ["≥", "1", "0.20%"],
    ]
    assert [row.count("█") for row in rows] == [10, 0, 40, 0]
    assert histogram_rows([(0.0, 7)]) == ["    = 0        100.00%  " + "█" * 40]


def test_of_equal_logits_the_lower_index_comes_first():
    logits = np.array([1, 3, 3, 0, 2, 3], np.float32)
    assert answer(logits, 2) == {"top": [1, 2, 5, 4, 0], "rank": 1}
    assert answer(logits, None) == {"top": [1, 2, 5, 4, 0]}
    with pytest.raises(InputError, match="not all finite"):
        answer(np.array([0, np.nan], np.float32), None)


def records(mine, other, truth):
    for n, (a, b, t) in enumerate(zip(mine, other, truth, strict=True)):
        yield {
            "n": n,
            "file": f"{n}.png",
            **answer(a, t),
            "other": {**answer(b, t), **difference(a, b)},
            "ms": {"decode": 1.0, "resize": n / 10, "network": 0.5, "other": 2.0},
        }


def test_a_tally_is_what_numpy_says_of_all_logits_at_once():
    random = np.random.default_rng(0)
    images, classes = 300, 40
    mine = random.normal(size=(images, classes)).astype(np.float32)
    other = np.round(mine + random.normal(scale=0.3, size=mine.shape), 1).astype(np.float32)
    truth = [None if n % 5 == 0 else int(random.integers(classes)) for n in range(images)]
    for n in range(0, images, 3):
        if truth[n] is not None:
            mine[n, truth[n]] += 3
    tally = Tally(classes)
    for record in records(mine, other, truth):
        tally.add(json.loads(json.dumps(record)))

    known = np.array([t is not None for t in truth])
    right = np.array([t if t is not None else -1 for t in truth])
    order, theirs = np.argsort(-mine, 1, "stable"), np.argsort(-other, 1, "stable")
    accuracy = tally.accuracy()
    assert accuracy.top1.of == accuracy.top5.of == known.sum() == tally.with_class
    assert accuracy.top1.hits == (order[:, 0] == right)[known].sum()
    assert accuracy.top5.hits == (order[:, :5] == right[:, None]).any(1)[known].sum()
    found = tally.comparison("it")
    assert found.accuracy.top1.hits == (theirs[:, 0] == right)[known].sum()
    alone = ((order[:, 0] == right) & (theirs[:, 0] != right))[known].sum()
    assert found.only_mine_right == alone > 0
    assert found.only_other_right == ((order[:, 0] != right) & (theirs[:, 0] == right))[known].sum()
    same = order[:, 0] == theirs[:, 0]
    equal = other[np.arange(images), order[:, 0]] == other.max(1)
    assert found.agreement.first.hits == same.sum() < equal.sum()
    assert found.agreement.first_or_equal.hits == equal.sum()
    among = (theirs[:, :5] == order[:, :1]).any(1)
    assert found.agreement.among_five.hits == among.sum()
    fives = [set(a[:5]) == set(b[:5]) for a, b in zip(order, theirs, strict=True)]
    assert found.agreement.same_five.hits == sum(fives)
    assert found.agreement.first.of == images

    apart = np.abs(mine.astype(np.float64) - other)
    differences = found.differences
    assert differences.mean == pytest.approx(apart.mean(), rel=1e-6)
    assert differences.max == pytest.approx(apart.max(), rel=1e-6)
    assert differences.rms == pytest.approx(np.sqrt((apart**2).mean()), rel=1e-6)
    for q, value in ((0.5, differences.median), (0.9, differences.p90), (0.99, differences.p99)):
        assert value == pytest.approx(np.quantile(apart, q), rel=0.02)
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (mine.astype(np.float64) * other).sum(1) / lengths
    assert differences.cosine == pytest.approx(cosines.mean(), rel=1e-6)
    worst = np.argsort(-apart.max(1), kind="stable")[:5]
    assert [each.file for each in found.largest] == [f"{n}.png" for n in worst]
    assert [each.at for each in found.largest] == apart.argmax(1)[worst].tolist()

    assert tally.ms() == {"decode": 1.0, "resize": 14.95, "network": 0.5, "other": 2.0}
    assert tally.slowest() == "resize"


def test_a_tally_of_few_classes_knows_no_first_five():
    logits = np.eye(5, dtype=np.float32)
    tally = Tally(5)
    for record in records(logits, logits, [0, 1, 2, 3, 0]):
        tally.add(record)
    assert tally.accuracy() == (wilson(4, 5), None)
    found = tally.comparison("itself")
    assert found.agreement == (wilson(5, 5), wilson(5, 5), None, None)
    assert (found.differences.max, found.differences.p99, found.differences.cosine) == (0, 0, 1)


# --- the file -----------------------------------------------------------------------------

PINNED = {"model": {"sha256": "a"}, "images": 3}


def written(path: Path, count: int) -> bytes:
    with Journal(str(path), PINNED) as journal:
        assert list(journal.kept()) == []
        for n in range(count):
            journal.add({"n": n, "file": f"{n}.png"})
    return path.read_bytes()


def test_a_torn_line_is_dropped_wherever_it_ends(tmp_path):
    path = tmp_path / "results.jsonl"
    whole = written(path, 3)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        with Journal(str(path), PINNED) as journal:
            kept = list(journal.kept())
            expected = max(0, sum(end <= length for end in ends) - 1)
            assert [record["n"] for record in kept] == list(range(expected))
            for n in range(expected, 3):
                journal.add({"n": n, "file": f"{n}.png"})
        assert path.read_bytes() == whole


def test_zeros_at_the_end_of_a_file_that_a_crash_left_are_dropped(tmp_path):
    path = tmp_path / "results.jsonl"
    whole = written(path, 2)
    path.write_bytes(whole + bytes(300))
    with Journal(str(path), PINNED) as journal:
        assert len(list(journal.kept())) == 2
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"nonsense\n", b"[1]\n", b'{"n":7}\n', b"\n"])
def test_a_whole_line_that_is_no_record_is_refused(damage, tmp_path):
    path = tmp_path / "results.jsonl"
    whole = written(path, 1)
    path.write_bytes(whole + damage)
    with (
        Journal(str(path), PINNED) as journal,
        pytest.raises(InputError, match="line 3 is no result of this run"),
    ):
        list(journal.kept())
    assert path.read_bytes() == whole + damage


def test_results_of_another_run_are_refused(tmp_path):
    path = tmp_path / "results.jsonl"
    whole = written(path, 1)
    with pytest.raises(InputError, match="results of another run: model differ"):
        Journal(str(path), {**PINNED, "model": {"sha256": "b"}})
    path.write_bytes(whole.replace(b'"mnv2_evaluate":1', b'"mnv2_evaluate":2'))
    with pytest.raises(InputError, match="results of format 2, not 1"):
        Journal(str(path), PINNED)
    with Journal(str(path), PINNED, force=True) as journal:
        assert list(journal.kept()) == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("content", [b"precious", b"precious\n", b"{}\n", b"\x89PNG\r\n\x1a\n"])
def test_a_file_of_anything_else_is_left_alone(content, force, tmp_path):
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no results of `mnv2 evaluate`"):
        Journal(str(path), PINNED, force)
    assert path.read_bytes() == content


def test_a_file_has_one_writer(tmp_path):
    pytest.importorskip("fcntl")
    path = str(tmp_path / "results.jsonl")
    with Journal(path, PINNED), pytest.raises(InputError, match="another process is writing"):
        Journal(path, PINNED)
    Journal(path, PINNED).__exit__(None, None, None)


def test_what_cannot_be_written_is_told(tmp_path):
    with pytest.raises(MnvError, match="cannot be written: No such file"):
        Journal(str(tmp_path / "absent" / "results.jsonl"), PINNED)
    with pytest.raises(InputError, match="is no regular file"):
        Journal(str(tmp_path), PINNED)
    if os.path.exists("/dev/full"):
        path = tmp_path / "full"
        path.symlink_to("/dev/full")
        with pytest.raises(InputError, match="is no regular file"):
            Journal(str(path), PINNED)
