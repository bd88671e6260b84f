"""The `meta` member of a model file: JSON that says what the weights are, and nothing on trust.

{"format": "mnv2_engine", "version": 2,
 "network": {"name", "resolution": [h, w], "layers": [...], "outputs": [...], "answer"},
 "preprocessing": {"mean", "std", "resample", "crop_fraction"},
 "labels": [...] or null, "dtype": "float32", "provenance": {"source", "sha256", ...}}

and, where dtype is "int8", "quantization": {"layers", "pool"}, as quantization.py has them. The
table of layers is network/table.py's. Version 1 has in place of "network"

 "architecture": {"family", "width", "divisor", "resolution": [h, w], "classes", "padding"}

and loads for ever.
"""

from __future__ import annotations

from ..errors import InputError, ModelFileError, UnsupportedError
from ..network import table
from ..network.layer import Network, is_integer
from ..untyped import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence
from .class_labels import Labels
from .input_spec import InputSpec, from_json, to_json
from .members import NEWEST
from .packed import DTYPES, classifier_dtype
from .plain_json import parse

if TYPE_CHECKING:
    from ..network.quantization import Quantization

FORMAT = "mnv2_engine"
META_LIMIT = 2 << 20  # bytes; the labels of 1000 classes take 25 KiB

_KEYS = ("format", "version", "preprocessing", "labels", "dtype", "provenance")
_ARCHITECTURE_KEYS = ("family", "width", "divisor", "resolution", "classes", "padding")


class Meta(NamedTuple):
    """What the member says, checked."""

    network: Network
    input_spec: InputSpec
    labels: Labels | None  # as many as classes; two of a network with one sigmoid
    provenance: dict[str, str]
    dtype: str  # of the weights, one of packing.DTYPES
    quantization: Quantization | None  # of int8 networks
    version: int  # of the format


def label_counts(network: Network) -> tuple[int, ...]:
    """How many labels a network may have: one for each class; of one sigmoid, which is the
    probability of class 1, two, for the classes 0 and 1, or that of class 1 alone."""
    if network.classes == 1 and network.answer == "sigmoid":
        return 2, 1
    return (network.classes,) if network.classes else ()


def encode(
    network: Network,
    input_spec: InputSpec,
    labels: Sequence[str] | None,
    provenance: Mapping[str, str],
    dtype: str = "float32",
    quantization: Quantization | None = None,
) -> bytes:
    """The member as UTF-8 JSON; equal values make equal bytes.

    Raises InputError for anything that `decode` would refuse, or would not return as it was.
    """
    import json

    if isinstance(labels, str):  # whose letters would pass for labels
        raise InputError(f"labels: got the text {labels[:80]!r}, expected a list of texts or None")
    try:
        document = {
            "format": FORMAT,
            "version": NEWEST,
            "network": table.to_json(network),
            "preprocessing": to_json(input_spec),
            "labels": None if labels is None else list(labels),
            "dtype": dtype,
            "provenance": dict(sorted(provenance.items())),
        }
        if quantization is not None:
            from ..network import quantization as quantised

            document["quantization"] = quantised.to_json(quantization)
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        content = text.encode()
        if len(content) > META_LIMIT:
            raise InputError(
                f"labels and provenance take {len(content)} bytes: expected at most {META_LIMIT}"
            )
        if decode(content).network != network:
            raise InputError(f"{network.name}: its layers are not what their table says")
    except (AttributeError, TypeError, ValueError, UnsupportedError) as error:
        raise InputError(f"cannot describe the model: {error}") from None
    return content


def decode(content: bytes) -> Meta:
    """The Meta of `content`. Raises ModelFileError unless it is exactly what its version says,
    UnsupportedError for a newer version, another dtype or a network that no kernel runs."""
    document = _object("meta", _parse(content))
    if document.get("format") != FORMAT:
        raise ModelFileError(
            f"meta: format {document.get('format')!r:.80}: expected {FORMAT!r}; "
            "this file was made by another program"
        )
    version: Any = document.get("version")
    if not is_integer(version) or version < 1:
        raise ModelFileError(f"meta: version {version!r:.80}: expected 1 to {NEWEST}")
    if version > NEWEST:
        raise UnsupportedError(
            f"meta: format version {version!r:.80} is newer than {NEWEST}, the newest that "
            "this version reads; upgrade with: pip install -U mnv2-engine"
        )
    dtype = document.get("dtype")
    is_quantised = dtype == "int8"
    described = "architecture" if version == 1 else "network"
    keys = (*_KEYS, described, "quantization") if is_quantised else (*_KEYS, described)
    _object("meta", document, keys)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsupportedError(f"meta: dtype {dtype!r:.80}: this version reads {', '.join(DTYPES)}")
    network = _network(version, document[described])
    spec = from_json(document["preprocessing"])
    provenance = _object("provenance", document["provenance"])
    _check_texts("provenance", [*provenance, *provenance.values()])
    quantization = None
    if is_quantised:
        from ..network import quantization as quantised

        quantization = quantised.from_json(document["quantization"], network)
    elif classifier_dtype(dtype) is not None and not any(
        each.operation == "dense" for each in network.weighted
    ):
        raise ModelFileError(f"meta: dtype {dtype}, and the network has no classifier")
    labels = document["labels"]
    if labels is None:
        return Meta(network, spec, None, provenance, dtype, quantization, version)
    counts = label_counts(network)
    if not isinstance(labels, list) or len(labels) not in counts:
        found = f"{len(labels)} labels" if isinstance(labels, list) else f"{labels!r:.80}"
        due = (
            f"{counts[0]} labels, or none at all" if counts else "none: the network has no classes"
        )
        raise ModelFileError(f"labels: {found}: expected {due}")
    _check_texts("labels", labels)
    return Meta(network, spec, Labels(labels), provenance, dtype, quantization, version)


def printable(text: str) -> str:
    """`text` as provenance can keep it and a terminal can show it."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _parse(content: bytes) -> object:
    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("an object names a key twice")
        return made

    try:
        return parse(content.decode(), unique, refuse)
    # SystemError: what the scanner of CPython 3.11 makes of a lack of memory.
    except (ValueError, RecursionError, MemoryError, SystemError) as error:
        raise ModelFileError(f"meta: not JSON: {error!s:.200}; convert the model again") from None


def _object(name: str, value: object, keys: Sequence[str] | None = None) -> dict[str, Any]:
    """`value` if it is a JSON object, with exactly `keys` if those are given."""
    if not isinstance(value, dict):
        raise ModelFileError(f"{name}: {type(value).__name__} found: expected an object")
    if keys is not None and set(value) != set(keys):
        raise ModelFileError(
            f"{name}: expected exactly {', '.join(keys)}; found {', '.join(sorted(value))[:200]!r}"
        )
    return value


def _network(version: int, value: object) -> Network:
    """The network that the file describes, checked to be one that kernels run."""
    from ..network.blocks import match

    try:
        if version == 1:
            return _family_network(_object("architecture", value, _ARCHITECTURE_KEYS))
        network = table.from_json(value)
        match(network)
        return network
    except InputError as error:
        raise ModelFileError(
            f"{'architecture' if version == 1 else 'network'}: {error!s:.300}"
        ) from None
    except UnsupportedError as error:
        raise UnsupportedError(f"{error!s:.300}; a newer version may") from None


def _family_network(value: Mapping[str, Any]) -> Network:
    from ..network.families import family_network

    size = value["resolution"]
    # What `family_network` takes for granted in typed arguments, JSON does not.
    right = (
        isinstance(value["family"], str)
        and isinstance(value["padding"], str)
        and isinstance(value["width"], (int, float))
        and not isinstance(value["width"], bool)
        and isinstance(size, list)
        and all(is_integer(value[key]) for key in ("divisor", "classes"))
    )
    if not right:
        raise ModelFileError(
            "architecture: expected texts for family and padding, a number for width, integers "
            "for divisor and classes, [height, width] for resolution; "
            f"found {dict(value)!r:.300}"
        )
    return family_network(**{**value, "resolution": tuple(size)})


def _check_texts(name: str, values: Sequence[object]) -> None:
    """All of `values` must be text that can be encoded and leaves a terminal as it was."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise ModelFileError(f"{name}: expected nothing but text")
    if "".join(texts).isprintable():
        return  # the usual case, at the speed of C
    for text in texts:
        if any(c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000" for c in text):
            raise ModelFileError(f"{name}: {text!a:.80} holds a control character or half a pair")
