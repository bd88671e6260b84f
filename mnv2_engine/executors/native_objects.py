"""Objects that a detector finds in the C core: candidates are kept while it runs, or all scores are
held and looked through."""

from __future__ import annotations

from ..untyped import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..network.detection import Detection

    Core = Any  # a NativeExecutor, which imports this file when it is asked for objects
    # (anchor, class, score, (top, left, bottom, right))
    FoundObject = tuple[int, int, float, tuple[float, float, float, float]]

# Of a detector, that are kept in 11 KiB; at usual thresholds a photograph has some dozens.
CANDIDATES = 400


class Wanted:
    """What a run is to find, and then what it found."""

    def __init__(self, how: Detection, anchors: Any) -> None:
        self.how, self.anchors = how, anchors
        self.found: list[FoundObject] = []


def find(executor: Core, image: Any, is_float: bool, wanted: Wanted) -> None:
    """Runs one image, and says what was found."""
    wanted.found = _found(executor, image, is_float, wanted)


def _found(executor: Core, image: Any, is_float: bool, wanted: Wanted) -> list[FoundObject]:
    """The objects in an image. Candidates are kept while it runs; should they be more than
    CANDIDATES, it runs again and all scores are held."""
    ffi, lib, how = executor._ffi, executor._lib, wanted.how
    with ffi.from_buffer("float[]", wanted.anchors) as corners:
        given = detection_of(executor, how, len(corners) // 4)
        if how.score_threshold > executor._crowded and how.columns <= lib.MNV2_MAX_COLUMNS:
            places = given.max_objects + CANDIDATES
            room = ffi.new("mnv2_object[]", places)
            kept = ffi.new("mnv2_candidates *", [given, corners, room, places, 0])
            executor._call(lib.mnv2_run_candidates, image, is_float, kept)
            count = lib.mnv2_detect_candidates(kept)
            if count >= 0:
                return _read(room, count)
            executor._crowded = max(executor._crowded, how.score_threshold)
    boxes = executor.new_floats(given.anchors * 4)
    scores = executor.new_floats(given.anchors * given.columns)
    executor.run(image, is_float, boxes=boxes, scores=scores)
    return objects_of(executor, how, wanted.anchors, boxes, scores)


def objects_of(
    executor: Core, how: Detection, anchors: Any, boxes: Any, scores: Any
) -> list[FoundObject]:
    """(anchor, class, score, (top, left, bottom, right)) of what a run left in `boxes` and
    `scores`, whose values become shares; as mnv2_engine.detect defines it, best first."""
    ffi = executor._ffi
    rows = executor.floats(boxes)
    given = detection_of(executor, how, len(rows) // 4)
    places = executor._lib.mnv2_detect_room(given)
    with (
        executor.borrow(places * ffi.sizeof("mnv2_object")) as memory,
        ffi.from_buffer("char[]", memory, require_writable=True) as start,
        ffi.from_buffer("float[]", anchors) as corners,
    ):
        room = ffi.cast("mnv2_object *", start)
        count = executor._lib.mnv2_detect(
            given, corners, rows, executor.floats(scores), room, places, ffi.NULL
        )
        return _read(room, count)


def detection_of(executor: Core, how: Detection, anchors: int) -> Any:
    """`how` as the C core takes it."""
    given = executor._ffi.new("mnv2_detection *")
    given.anchors, given.columns = anchors, how.columns
    given.has_background, given.is_softmax = how.background, how.score_conversion == "softmax"
    given.coding = list(how.box_coding)
    given.score_threshold, given.iou_threshold = how.score_threshold, how.iou_threshold
    given.max_per_class = how.max_per_class
    given.max_objects = min(how.max_objects, anchors * how.classes)
    return given


def _read(room: Any, count: int) -> list[FoundObject]:
    found = [room[i] for i in range(count)]
    return [(each.anchor, each.index, each.score, tuple(each.box)) for each in found]
