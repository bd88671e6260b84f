"""The labels that come with the package, and those read from a file."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mnv2_engine.errors import InputError
from mnv2_engine.model import labels

SHARED = Path(__file__).parents[2] / "shared" / "checkpoints" / "imagenet_labels.txt"


def test_imagenet():
    names = labels.imagenet(1000)
    assert len(names) == 1000
    assert all(name and name == name.strip() and name.isprintable() for name in names)
    # Landmarks of the standard order, from the papers and the checkpoints' own documentation.
    landmarks = {
        0: "tench",
        1: "goldfish",
        207: "golden retriever",
        281: "tabby",
        282: "tiger cat",
        285: "Egyptian cat",
        340: "zebra",
        388: "giant panda",
        407: "ambulance",
        409: "analog clock",
        504: "coffee mug",
        817: "sports car",
        999: "toilet tissue",
    }
    for index, name in landmarks.items():
        assert names[index].split(", ")[0] == name


def test_background_comes_first():
    assert labels.imagenet(1001) == ("background", *labels.imagenet(1000))


@pytest.mark.parametrize("classes", [0, 1, 999, 1002, 21841])
def test_another_count_is_refused(classes):
    with pytest.raises(InputError, match=f"{classes} classes: there are 1000, or 1001 with"):
        labels.imagenet(classes)


@pytest.mark.skipif(not SHARED.exists(), reason="the reference labels are not there")
def test_the_order_of_the_reference_labels():
    reference = SHARED.read_text(encoding="utf-8").splitlines()
    assert len(reference) == 1001
    agree = sum(
        ours.split(", ")[0].lower() == theirs.split(", ")[0].lower()
        for ours, theirs in zip(labels.imagenet(1001), reference, strict=True)
    )
    assert agree >= 0.99 * 1001


def test_coco():
    """Landmarks of COCO's ids, which begin at 1, and of its 80 categories, which have no gaps."""
    names = labels.coco(90)
    assert len(names) == len({*names}) == 90
    landmarks = {
        1: "person", 13: "stop sign", 18: "dog", 27: "backpack", 44: "bottle", 62: "chair",
        70: "toilet", 72: "tv", 84: "book", 90: "toothbrush",
    }  # fmt: skip
    assert {id_: names[id_ - 1] for id_ in landmarks} == landmarks
    used = labels.coco(80)
    assert len(used) == 80
    landmarks = {
        0: "person",
        11: "stop sign",
        16: "dog",
        24: "backpack",
        56: "chair",
        79: names[-1],
    }
    assert {index: used[index] for index in landmarks} == landmarks
    assert [name for name in names if name in used] == list(used)
    with pytest.raises(InputError, match="91 classes: there are 80, or 90 with the ids"):
        labels.coco(91)


def write(tmp_path, data: bytes) -> Path:
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\r\ndog\r\n\r\n", ("cat", "dog")),
        (b"cat", ("cat",)),
        (b"\xef\xbb\xbfcat\n dog \n", ("cat", "dog")),
        ("Löwe\n犬\n".encode(), ("Löwe", "犬")),
        (b"cat\ncat\n", ("cat", "cat")),
        (b"0  cat\n1: dog\n", ("cat", "dog")),
        (b"10 k\n2 c\n1 b\n0 a\n4 e\n3 d\n5 f\n6 g\n8 i\n7 h\n9 j\n", tuple("abcdefghijk")),
        (b"3 dogs\n1 cat\n", ("3 dogs", "1 cat")),
        (b"3 dogs\n", ("3 dogs",)),
        ("one\u2028label\nanother".encode(), ("one\u2028label", "another")),
    ],
)
def test_read_labels(tmp_path, data, expected):
    path = write(tmp_path, data)
    assert labels.read_labels(path) == expected
    assert labels.read_labels(str(path)) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "found none"),
        (b" \n\n", "found none"),
        (b"cat\n\ndog\n", "line 2 is blank"),
        (b"\ncat\n", "line 1 is blank"),
        (b"caf\xe9\n", "expected UTF-8 text"),
        (b"1 cat\n2 dog\n", "numbered from 1, and classes count from 0"),
        (b"x\n" * ((1 << 20) + 1), "expected at most 1048576"),
    ],
)
def test_bad_label_files(tmp_path, data, message):
    with pytest.raises(InputError, match=rf"labels .*labels\.txt.*{message}"):
        labels.read_labels(write(tmp_path, data))


def test_a_huge_label_file_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        labels.read_labels(write(tmp_path, b"0123456789\n"))


def test_label_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"absent\.txt: cannot be read: No such file"):
        labels.read_labels(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        labels.read_labels(tmp_path)


def test_imagenets_labels_are_found_in_a_zip_file(tmp_path):
    package = Path(labels.__file__).parent.parent
    with zipfile.ZipFile(tmp_path / "package.zip", "w") as file:
        for path in package.rglob("*"):
            if path.suffix in (".py", ".txt"):
                file.write(path, path.relative_to(package.parent))
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(tmp_path / "package.zip")!r})
        from mnv2_engine.model.labels import __file__, imagenet
        assert "package.zip" in __file__
        print(imagenet()[1])
    """
    # -S: an editable installation would be found first.
    found = subprocess.run(
        [sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=False
    )
    assert found.stdout == f"{labels.imagenet()[1]}\n", found.stderr
