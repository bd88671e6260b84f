"""Tables of layers that are spoilt at random: the C program's reader refuses what the package's
refuses, and plans the rest."""

from __future__ import annotations

import json
import random

import pytest
from c_plans import Asked, CPlans
from random_tables import random_detector, random_table, some_quantization, spoilt

from mnv2_engine.errors import MnvError
from mnv2_engine.model.input_spec import PRESETS
from mnv2_engine.model.meta import decode, encode

TABLES = 400  # of each seed


def is_accepted(meta: bytes) -> bool:
    try:
        decode(meta)
    except MnvError:
        return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_tables_are_refused_by_both_or_by_neither(c_plans: CPlans, seed: int) -> None:
    choose = random.Random(seed)
    metas, accepted = [], []
    for _ in range(TABLES):
        network = random_table(choose)
        dtype, quantization = "float32", None
        if choose.random() < 0.2:
            dtype, quantization = "int8", some_quantization(network)
        document = json.loads(encode(network, PRESETS["tf"], None, {}, dtype, quantization))
        if quantization and choose.random() < 0.5:
            document["quantization"] = spoilt(choose, document["quantization"])
        else:
            document["network"] = spoilt(choose, document["network"])
        metas.append(json.dumps(document, ensure_ascii=False).encode())
        accepted.append(is_accepted(metas[-1]))
    assert 0.05 * TABLES < sum(accepted) < 0.6 * TABLES
    for meta, expected, answer in zip(metas, accepted, c_plans(map(Asked, metas)), strict=True):
        assert answer.startswith("plan " if expected else "refused: "), (answer, meta)


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_detectors_are_refused_by_both_or_by_neither(c_plans: CPlans, seed: int) -> None:
    choose = random.Random(seed)
    metas, accepted = [], []
    for _ in range(TABLES):
        network = random_detector(choose)
        dtype, quantization = "float32", None
        if choose.random() < 0.3:
            dtype, quantization = "int8", some_quantization(network)
        document = json.loads(encode(network, PRESETS["tf"], None, {}, dtype, quantization))
        table = document["network"]
        if quantization and choose.random() < 0.5:
            document["quantization"] = spoilt(choose, document["quantization"])
        elif choose.random() < 0.4:
            table["detection"] = spoilt(choose, table["detection"])
        else:
            document["network"] = spoilt(choose, table)
        metas.append(json.dumps(document, ensure_ascii=False).encode())
        accepted.append(is_accepted(metas[-1]))
    assert 0.05 * TABLES < sum(accepted) < 0.7 * TABLES
    for meta, expected, answer in zip(metas, accepted, c_plans(map(Asked, metas)), strict=True):
        assert answer.startswith("plan " if expected else "refused: "), (answer, meta)


@pytest.mark.parametrize(
    "name",
    [
        *("plain", "naïve 𝄞", "no\u00a0break", "zero\u200bwidth", "unassigned\U000e1000", ""),
        *("x" * 200, "é" * 200, "x" * 201, "é" * 201, "a\tb", "\x7f", "\x85", "\x9f", "\ud800"),
    ],
)
def test_names_of_networks_are_refused_by_both_or_by_neither(c_plans: CPlans, name: str) -> None:
    network = random_table(random.Random(0))
    document = json.loads(encode(network, PRESETS["tf"], None, {}))
    document["network"]["name"] = name
    meta = json.dumps(document).encode()
    (answer,) = c_plans([Asked(meta)])
    assert answer.startswith("plan " if is_accepted(meta) else "refused: ")
