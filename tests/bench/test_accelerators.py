"""Laws of the programs that XLA's compilers make for an H100 and a v5e, which need not be here."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache

import pytest

from research.devices.ahead import ENVIRONMENT, PLUGINS
from research.devices.targets import parse_target
from research.io.locks import exclusive

pytestmark = pytest.mark.slow

FAMILIES = ("gpt2_small", "gpt1", "bert_base")
SHARDED = {"parallel.compile": "sharded"}
LAYOUTS = {
    "jit": {"parallel.compile": "jit"},
    "data": SHARDED,
    "pmap": {"parallel.compile": "pmap"},
    "accumulate": SHARDED | {"parallel.accumulate": 2},
    "fsdp": SHARDED | {"parallel.data": 1, "parallel.fsdp": 4},
    "tensor": SHARDED | {"parallel.data": 2, "parallel.tensor": 2},
}
GPU = [(name, layout) for name in FAMILIES for layout in ("jit", "data", "pmap")]
GPU += [("gpt2_small", layout) for layout in ("accumulate", "fsdp", "tensor")]
GPU += [("bert_base", "fsdp"), ("gpt1", "tensor"), ("bert_base", "accumulate")]
TPU = [("gpt2_small", "data"), ("gpt1", "jit"), ("bert_base", "jit"), ("gpt1", "accumulate")]
TABLE, TOKENS = 2_048 * 128 * 4, 16 * 128  # bytes of the embeddings; positions of a batch
BLOCKS = 2
STATE = 3  # parameters and two moments


def compiled(target: str, cases: list, plant: str = "sound", more: dict | None = None) -> dict:
    """Facts of the programs by case, of one process for all of them; `more` is declared of each."""
    platform = parse_target(target).chip.platform
    module, extra = PLUGINS[platform]
    if importlib.util.find_spec(module.partition(".")[0]) is None or importlib.util.find_spec(module) is None:
        pytest.skip(f"the extra {extra} is not installed")
    outside = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT[platform]}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.compiled_for", target, plant],
        input=json.dumps([[name, LAYOUTS[layout] | (more or {})] for name, layout in cases]),
        capture_output=True,
        text=True,
        env=outside,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return dict(zip(cases, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Callable[[str, str, str], dict]:
    """Facts of a case's program. All of a target are compiled by one of the test workers, for all of them."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    @cache
    def of_target(target: str) -> dict:
        devices, cases = {"h100": ("h100:4", GPU), "v5e": ("v5e-4", TPU)}[target]
        kept = folder / f"accelerators-{target}.json"
        with exclusive(kept.with_suffix(".lock")):
            if not kept.exists():
                kept.write_text(json.dumps(list(compiled(devices, cases).values())))
        return dict(zip(cases, json.loads(kept.read_text()), strict=True))

    return lambda target, name, layout: of_target(target)[name, layout]


def undonated(facts: dict) -> int:
    """Bytes of the old state that the new one does not overwrite."""
    return max(facts["need"]["state"] - facts["need"]["donated"], 0)


def single_products(facts: dict) -> list:
    """Products of float32 with float32."""
    return [sizes for types, sizes in facts["products"] if types == ["f32", "f32"]]


def reduced(facts: dict) -> int:
    """Bytes that all devices add up, over a step."""
    return sum(
        times * sum(sizes)
        for kind, times, sizes in facts["collectives"]
        if kind in ("all-reduce", "reduce-scatter")
    )


CASES = [("h100", *case) for case in GPU] + [("v5e", *case) for case in TPU]
every = pytest.mark.parametrize("case", CASES, ids="-".join)


def of_layouts(*layouts: str):
    return pytest.mark.parametrize("case", [case for case in CASES if case[2] in layouts], ids="-".join)


@every
def test_the_state_is_donated_whole(programs, case):
    assert undonated(programs(*case)) == 0


@every
def test_products_are_of_bfloat16(programs, case):
    assert programs(*case)["products"]
    assert not single_products(programs(*case))


@every
def test_attention_is_as_expected(programs, case):
    """On an H100 launched once in each direction of each block: cuDNN's or, with dropout, our own.

    On a v5e splash attention's, twice in the backward pass, or our own.
    """
    target, name, layout = case
    a_block = 3 if (target, name) == ("v5e", "gpt2_small") else 2
    assert programs(*case)["attention"] == BLOCKS * a_block * (2 if layout == "accumulate" else 1)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[2] in ("data", "pmap", "accumulate")], ids="-".join
)
def test_each_gradient_is_reduced_once(programs, case):
    """The tied table's may be sent twice: for its rows that were looked up, and for its products.

    A v5e's loop over blocks sends each block's own in its turn, and all of them once.
    """
    turns = {1} if case[0] == "h100" else {1, BLOCKS}
    gradients = programs(*case)["need"]["state"] / STATE
    assert 0.99 * gradients < reduced(programs(*case)) < 1.01 * (gradients + TABLE)
    assert all(times in turns for _, times, sizes in programs(*case)["collectives"] if max(sizes) > 1_024)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case[2] in ("data", "pmap", "fsdp")], ids="-".join
)
def test_nothing_of_a_batch_is_gathered(programs, case):
    """States of the batch's tokens have 128 features of two bytes; a layer's parameters are smaller."""
    gathered = [max(sizes) for kind, _, sizes in programs(*case)["collectives"] if kind == "all-gather"]
    assert max(gathered, default=0) < TOKENS * 128 * 2 + TABLE


def test_under_fsdp_the_loss_gathers_its_table_once(programs):
    collectives = programs("h100", "gpt2_small", "fsdp")["collectives"]
    assert all(times == 1 for _, times, sizes in collectives if max(sizes) > 1_024)


def test_under_tensor_a_block_adds_up_its_states_four_times(programs):
    """Twice in each direction, and the loss once; states are gathered where they are embedded alone."""
    states = TOKENS // 2 * 128 * 2  # bytes: bfloat16, half of the rows; small arrays may be sent with them
    large = [
        (kind, max(sizes) < 1.1 * states)
        for kind, times, sizes in programs("h100", "gpt2_small", "tensor")["collectives"]
        for _ in range(times)
        if max(sizes) >= states
    ]
    assert large.count(("all-reduce", True)) == 4 * BLOCKS + 1
    assert sum(large.count((kind, True)) for kind in ("all-gather", "reduce-scatter")) <= 2


def test_blocks_that_are_computed_again_keep_little():
    """Unrolled too, on one device and several: neither joined with the first pass, nor put off to the end."""
    cases = [("gpt2_small", layout) for layout in ("jit", "data", "pmap")]
    needed = {}
    for remat in ("none", "block", "dots"):
        facts = compiled("h100:4", cases, more={"model.depth": 8, "data.batch": 256, "model.remat": remat})
        needed[remat] = [facts[case]["need"]["temporaries"] for case in cases]
    for none, block, dots in zip(*needed.values(), strict=True):
        assert block < 0.4 * none and dots < 0.7 * none, needed


@pytest.mark.parametrize(
    "target, precision, launched",
    [("rtx-3090", "auto", 2 * BLOCKS), ("t4", "auto", 0), ("t4", "float16", 0)],
)
def test_smaller_gpus_compile_what_fits_them(target, precision, launched):
    """Heads of 128 in kernels with 99 KB of shared memory; without bfloat16 none of ours."""
    more = {"model.width": 256, "model.precision": precision}
    (facts,) = compiled(target, [("gpt1", "jit")], more=more).values()
    assert facts["attention"] == launched
    assert undonated(facts) == 0
    assert bool(single_products(facts)) == ((target, precision) == ("t4", "auto"))


def test_a_state_that_is_not_donated_is_found():
    (facts,) = compiled("h100", [("gpt2_small", "jit")], "undonated").values()
    assert undonated(facts) > 0


def test_a_product_of_float32_is_found():
    (facts,) = compiled("h100", [("gpt2_small", "jit")], "float32").values()
    assert single_products(facts)


def test_a_reduction_in_every_part_is_found():
    (facts,) = compiled("h100:4", [("gpt2_small", "accumulate")], "reduced in parts").values()
    assert reduced(facts) > 1.5 * facts["need"]["state"] / STATE
