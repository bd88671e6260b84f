"""Average precision of a detector on photographs whose objects are listed in COCO's form.

The figures are pycocotools' own (the extra `coco`): AP is the mean over overlaps of 0.50 to 0.95.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, NamedTuple

from ..detect.answers import specification
from ..errors import CheckpointError, InputError, missing_extra, shown

MAX_ANNOTATIONS_BYTES = 1 << 30  # COCO's own of 118,000 photographs has half of that
_LISTS = ("images", "annotations", "categories")


class CocoReport(NamedTuple):
    """What was measured. `str()` is for people."""

    model: str
    network: str
    dtype: str
    images: int  # that were listed, or as many as were asked for
    unreadable: int
    objects: int  # that the model found, of any score
    ap: float  # the mean over overlaps of 0.50 to 0.95, 0 to 1; -1 where nothing could be counted
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar: float  # average recall, of 100 objects an image

    def to_json(self) -> dict[str, object]:
        """In JSON's own types."""
        return dict(self._asdict())

    def __str__(self) -> str:
        rows = [
            ("model", f"{shown(self.model)}, {self.network}, {self.dtype}"),
            ("images", f"{self.images}, {self.unreadable} of them unreadable"),
            ("objects", f"{self.objects} found, of any score"),
            ("AP", f"{_share(self.ap)}   overlaps of 0.50 to 0.95"),
            ("AP50", _share(self.ap50)),
            ("AP75", _share(self.ap75)),
            ("AP small", _share(self.ap_small)),
            ("AP medium", _share(self.ap_medium)),
            ("AP large", _share(self.ap_large)),
            ("recall", f"{_share(self.ar)}   of 100 objects an image"),
        ]
        return "\n".join(f"{name:<14}{value}".rstrip() for name, value in rows)


def _share(value: float) -> str:
    return "    -" if value < 0 else f"{value:6.3f}"


def evaluate_coco(
    model: str,
    folder: str,
    annotations: str,
    *,
    limit: int | None = None,
    threads: int | str = 1,
    precision: str | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> CocoReport:
    """Average precision of the detector `model` on the photographs in `folder` that the JSON file
    `annotations` lists. Photographs that cannot be read are told to `note` and left out.

    Raises MissingExtraError without pycocotools, InputError for annotations that do not fit the
    form or the model, UnsupportedError for a model that is no detector.
    """
    from ..engine import Engine

    try:
        tools = import_module("pycocotools.coco"), import_module("pycocotools.cocoeval")
    except ImportError:
        raise missing_extra("pycocotools", "coco", "evaluating a detector") from None
    said = _read(annotations)
    with Engine.load(model, threads=threads, precision=precision) as engine:
        info = engine.info
        specification(info.network)
        categories = _categories(model, info.network.classes, said["categories"], annotations)
        images = said["images"] if limit is None else said["images"][:limit]
        results: list[dict[str, Any]] = []
        seen: list[int] = []
        for image in images:
            try:
                found = engine.detect(_path(folder, image, annotations), 0)
            except InputError as error:
                note(str(error))
                continue
            seen.append(image["id"])
            for each in found:
                left, top, right, bottom = each.box
                results.append(
                    {
                        "image_id": image["id"],
                        "category_id": categories[each.index],
                        "bbox": [left, top, right - left, bottom - top],
                        "score": each.score,
                    }
                )
    figures = _measured(tools, said, results, seen, annotations)
    return CocoReport(
        model,
        info.network.name,
        info.dtype,
        len(images),
        len(images) - len(seen),
        len(results),
        *(figures[at] for at in (0, 1, 2, 3, 4, 5, 8)),
    )


def _read(annotations: str) -> dict[str, list[dict[str, Any]]]:
    """The document, of the form that is expected."""
    import json

    name = os.path.basename(annotations)
    try:
        if os.path.getsize(annotations) > MAX_ANNOTATIONS_BYTES:
            raise InputError(f"{name}: more than a gibibyte: expected annotations in COCO's form")
        with open(annotations, encoding="utf-8") as file:
            said = json.load(file)
    except OSError as error:
        raise InputError(f"{annotations}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name}: not JSON: {str(error)[:100]}") from None
    lists: dict[str, list[dict[str, Any]]] = {}
    for key in _LISTS:
        rows = said.get(key) if isinstance(said, dict) else None
        if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
            raise InputError(f"{name}: expected COCO's form: lists of {', '.join(_LISTS)}")
        lists[key] = rows
    _check(name, lists["images"], {"id": int, "file_name": str})
    _check(name, lists["categories"], {"id": int, "name": str})
    _check(name, lists["annotations"], {"image_id": int, "category_id": int, "bbox": list})
    for at, each in enumerate(lists["annotations"]):
        box = each["bbox"]
        if len(box) != 4 or not all(_is_number(side) for side in box):
            raise InputError(f"{name}: annotation {at}: bbox {box!r:.80}: expected four numbers")
        each.setdefault("id", at + 1)
        each.setdefault("iscrowd", 0)
        each.setdefault("area", box[2] * box[3])
    return lists


def _check(name: str, rows: list[dict[str, Any]], kinds: dict[str, type]) -> None:
    for at, row in enumerate(rows):
        for key, kind in kinds.items():
            if not isinstance(row.get(key), kind) or isinstance(row.get(key), bool):
                raise InputError(f"{name}: entry {at}: {key} {row.get(key)!r:.60}: unexpected")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e9  # which NaN is not


def _categories(
    model: str, classes: int, said: list[dict[str, Any]], annotations: str
) -> list[int]:
    """The category of each of the model's classes: that of its label, else by their order."""
    from ..model.modelfile import open_model

    what = os.path.basename(annotations)
    with open_model(model) as opened:
        labels = [label.strip().lower() for label in opened.labels or ()]
    ids = sorted(each["id"] for each in said)
    if labels:
        by_name = {each["name"].strip().lower(): each["id"] for each in said}
        missing = [label for label in labels if label not in by_name]
        if missing:
            raise InputError(
                f"{what}: no category is called {missing[0]!r:.60}, as a label of the model is"
            )
        return [by_name[label] for label in labels]
    if len(ids) != classes:
        raise InputError(
            f"{what}: {len(ids)} categories for {classes} classes without labels; convert the "
            "model with labels that are the categories' names"
        )
    return ids


def _path(folder: str, image: dict[str, Any], annotations: str) -> str:
    name = image["file_name"]
    path = os.path.normpath(name)
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir or "\0" in path:
        raise InputError(f"{os.path.basename(annotations)}: file {name!r:.80} is not in the folder")
    return os.path.join(folder, path)


def _measured(
    tools: tuple[Any, Any],
    said: dict[str, list[dict[str, Any]]],
    results: list[dict[str, Any]],
    images: list[int],
    annotations: str,
) -> list[float]:
    """pycocotools' twelve figures."""
    coco, cocoeval = tools
    if not images or not results:
        return [0.0 if images and said["annotations"] else -1.0] * 12
    with redirect_stdout(io.StringIO()):  # it prints what it does
        try:
            truth = coco.COCO()
            truth.dataset = said
            truth.createIndex()
            measured = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
            measured.params.imgIds = sorted(set(images))
            measured.evaluate()
            measured.accumulate()
            measured.summarize()
        except (KeyError, ValueError, AssertionError, TypeError, IndexError) as error:
            raise InputError(
                f"{os.path.basename(annotations)}: pycocotools does not take it "
                f"({type(error).__name__}: {str(error)[:100]})"
            ) from None
    return [float(each) for each in measured.stats]
