"""The reader of compiled programs, on a program small enough to add up by hand."""

import pytest

from research.bench.bound import bound_of
from research.bench.hlo import launches, parse
from research.bench.traffic import cost
from research.devices.targets import Chip

# Two turns of a loop, each with a product of (4, 8) and (8, 16), a row of a table and a row written in place.
PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_row (p0: f32[100,16], p1: s32[]) -> f32[1,16] {
  %p0 = f32[100,16]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,16]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,16}
}

%fused_write (p0: f32[100,16], p1: f32[1,16], p2: s32[]) -> f32[100,16] {
  %p0 = f32[100,16]{1,0} parameter(0)
  %p1 = f32[1,16]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %write = f32[100,16]{1,0} dynamic-update-slice(%p0, %p1, %p2, %zero)
}

%fused_product (p0: bf16[4,8], p1: bf16[8,16]) -> bf16[4,16] {
  %p0 = bf16[4,8]{1,0} parameter(0)
  %p1 = bf16[8,16]{1,0} parameter(1)
  ROOT %dot = bf16[4,16]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (state: (s32[], f32[100,16], bf16[4,8], bf16[8,16])) -> (s32[], f32[100,16], bf16[4,8], bf16[8,16]) {
  %state = (s32[], f32[100,16]{1,0}, bf16[4,8]{1,0}, bf16[8,16]{1,0}) parameter(0)
  %turn = s32[] get-tuple-element(%state), index=0
  %table = f32[100,16]{1,0} get-tuple-element(%state), index=1
  %a = bf16[4,8]{1,0} get-tuple-element(%state), index=2
  %b = bf16[8,16]{1,0} get-tuple-element(%state), index=3
  %product = bf16[4,16]{1,0} fusion(%a, %b), kind=kCustom, calls=%fused_product, metadata={op_name="step/dot"}
  %read = f32[1,16]{1,0} fusion(%table, %turn), kind=kLoop, calls=%fused_row, metadata={op_name="step/read"}
  %written = f32[100,16]{1,0} fusion(%table, %read, %turn), kind=kLoop, calls=%fused_write
  ROOT %next = (s32[], f32[100,16]{1,0}, bf16[4,8]{1,0}, bf16[8,16]{1,0}) tuple(%turn, %written, %a, %b)
}

%condition (state: (s32[], f32[100,16], bf16[4,8], bf16[8,16])) -> pred[] {
  %state = (s32[], f32[100,16]{1,0}, bf16[4,8]{1,0}, bf16[8,16]{1,0}) parameter(0)
  ROOT %always = pred[] constant(true)
}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

ENTRY %main (start: (s32[], f32[100,16], bf16[4,8], bf16[8,16])) -> f32[100,16] {
  %start = (s32[], f32[100,16]{1,0}, bf16[4,8]{1,0}, bf16[8,16]{1,0}) parameter(0)
  %loop = (s32[], f32[100,16]{1,0}, bf16[4,8]{1,0}, bf16[8,16]{1,0}) while(%start), condition=%condition, \
body=%body, backend_config={"known_trip_count":{"n":"2"}}
  %last = f32[100,16]{1,0} get-tuple-element(%loop), index=1
  ROOT %all-reduce = f32[100,16]{1,0} all-reduce(%last), replica_groups={{0,1}}, to_apply=%add
}
"""
ROW, TABLE, PRODUCT = 16 * 4, 100 * 16 * 4, (4 * 8 + 8 * 16 + 4 * 16) * 2
SLOW = Chip("gpu", (), half=1e3, float32=5e2, memory=1e6, bandwidth=1e2, link=10.0)


def test_launches_are_counted_with_the_turns_of_their_loop():
    found = [(launch.operation.name, launch.times) for launch in launches(parse(PROGRAM))]
    assert found == [("product", 2), ("read", 2), ("written", 2), ("all-reduce", 1)]


def test_bytes_are_those_of_slices_and_updates():
    program = parse(PROGRAM)
    costs = {launch.operation.name: cost(program, launch) for launch in launches(program)}
    assert costs["product"][:4] == ("product", (4 * 8 + 8 * 16) * 2, 4 * 16 * 2, 2 * 4 * 8 * 16)
    index = 4
    assert costs["read"][:4] == ("memory", ROW + index, ROW, 0)
    assert costs["written"][:4] == ("memory", ROW + index, ROW, 0)
    assert costs["all-reduce"][:3] == ("all-reduce", TABLE, TABLE)


def test_the_bound_is_the_longer_of_arithmetic_and_memory_for_each_launch():
    bound = bound_of(PROGRAM, SLOW)
    assert bound.products == pytest.approx(2 * max(2 * 4 * 8 * 16 / 1e3, PRODUCT / 1e2))
    assert bound.memory == pytest.approx(2 * 2 * (2 * ROW + 4) / 1e2)
    assert bound.links == pytest.approx(TABLE / 10)
    assert bound.seconds == bound.links  # the longest here: communication may hide all else
    assert bound.launches == 7
    assert bound.collectives == {"all-reduce": (1, TABLE)}
    assert bound.largest[0].where == "step/read"


@pytest.mark.parametrize(
    ("result", "kind", "sent"),
    [
        (
            "f32[100,16]{1,0:T(8,128)S(1)}",
            "all-reduce",
            TABLE,
        ),  # VMEM does not shorten links
        ("f32[100,16]{1,0}", "all-reduce-start", TABLE),  # as jax 0.10 writes it, and as 0.11 does
        ("((f32[100,16]{1,0}), f32[100,16]{1,0})", "all-reduce-start", TABLE),
        ("(f32[100,16]{1,0}, f32[200,16]{1,0})", "all-gather-start", 2 * TABLE),
        ("f32[50,16]{1,0}", "reduce-scatter", TABLE),
    ],
)
def test_a_collectives_bytes_are_those_that_leave_or_enter_a_device(result, kind, sent):
    text = PROGRAM.replace("f32[100,16]{1,0} all-reduce(", f"{result} {kind}(")
    assert bound_of(text, SLOW).collectives == {kind.removesuffix("-start"): (1, sent)}


def test_products_of_float32_have_a_rate_of_their_own():
    fast = SLOW._replace(bandwidth=1e9)
    single = PROGRAM.replace("bf16", "f32")
    assert bound_of(single, fast).products == pytest.approx(2 * 2 * 4 * 8 * 16 / 5e2)
    assert bound_of(PROGRAM, fast).products == pytest.approx(2 * 2 * 4 * 8 * 16 / 1e3)


TPU = """HloModule step

%body (state: (s32[], bf16[8,1024,64])) -> (s32[], bf16[8,1024,64]) {
  %state = (s32[], bf16[8,1024,64]{2,1,0:T(8,128)}) parameter(0)
  %turn = s32[]{:T(128)} get-tuple-element(%state), index=0
  %x = bf16[8,12,1024,64]{3,2,1,0:T(8,128)(2,1)} get-tuple-element(%state), index=1
  %y = bf16[8,12,1024,64]{3,2,1,0:T(8,128)(2,1)S(1)} get-tuple-element(%state), index=1
  %scores = f32[8,12,1024,1024]{3,2,1,0:T(8,128)S(1)} convolution(%x, %y), \
window={size=8x12 stride=7x11 lhs_dilate=8x12}, dim_labels=01bf_01oi->01bf
  %kernel.1 = bf16[8,12,1024,64]{3,2,1,0:T(8,128)(2,1)S(1)} custom-call(%x, %x, %y), \
custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128}"
}}, metadata={op_name="step/causal/splash_mha_dkv_no_residuals/pallas_call"}
  %start = (bf16[8,12,1024,64]{3,2,1,0:T(8,128)}, bf16[8,12,1024,64]{3,2,1,0:T(8,128)S(1)}, u32[]{:S(2)}) \
copy-start(%x)
  %copied = bf16[8,12,1024,64]{3,2,1,0:T(8,128)S(1)} copy-done(%start)
  %room = bf16[8,12,1024,64]{3,2,1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %next = (s32[], bf16[8,1024,64]) tuple(%turn, %kernel.1)
}

%condition (state: (s32[], bf16[8,1024,64])) -> pred[] {
  %limit = s32[]{:T(128)} constant(12)
  %state = (s32[], bf16[8,1024,64]) parameter(0)
  %turn = s32[]{:T(128)} get-tuple-element(%state), index=0
  ROOT %less = pred[]{:T(512)} compare(%turn, %limit), direction=LT
}

ENTRY %main (state: (s32[], bf16[8,1024,64])) -> (s32[], bf16[8,1024,64]) {
  %state = (s32[], bf16[8,1024,64]) parameter(0)
  ROOT %loop = (s32[], bf16[8,1024,64]) while(%state), condition=%condition, body=%body
}
"""
HEADS, ARRAY = 8 * 12, 8 * 12 * 1024 * 64 * 2


def test_a_tpus_loop_turns_until_its_counter_is_at_its_limit():
    found = [(launch.operation.name, launch.times) for launch in launches(parse(TPU))]
    assert found == [("scores", 12), ("kernel.1", 12), ("start", 12)]
    by_two = TPU.replace("tuple(%turn,", "tuple(%later,").replace(
        "  ROOT %next", "  %two = s32[]{:T(128)} constant(2)\n  %later = s32[] add(%turn, %two)\n  ROOT %next"
    )
    assert [launch.times for launch in launches(parse(by_two))] == [6] * 4


def test_a_tpus_program_is_read_as_it_is_meant():
    """Zeros of dilated windows are no work; vector memory is no traffic; a causal kernel computes half."""
    program = parse(TPU)
    costs = {launch.operation.name: cost(program, launch) for launch in launches(program)}
    product = 2 * HEADS * 1024 * 1024 * 64
    assert costs["scores"][:4] == ("product", ARRAY, 0, product)
    assert costs["kernel.1"][:4] == ("attention", 2 * ARRAY, 0, 4 * product / 2)
    assert costs["start"][:3] == ("memory", ARRAY, 0)


def test_copies_beside_other_launches_take_no_time_of_their_own():
    fast = SLOW._replace(bandwidth=1e12, half=1e15, float32=1e15)
    bound = bound_of(TPU, fast)
    alone = bound_of(TPU.replace("copy-start(%x)", "nothing-done(%x)"), fast)
    assert bound.seconds == pytest.approx(max(alone.seconds, 12 * 4 * ARRAY / 1e12))
    assert alone.seconds < bound_of(TPU, fast._replace(bandwidth=1e11)).seconds


FLASH = """ENTRY %main (qkv: bf16[64,512,3,12,64], g: bf16[64,512,12,64]) -> bf16[64,512,3,12,64] {
  %qkv = bf16[64,512,3,12,64]{4,3,2,1,0} parameter(0)
  %g = bf16[64,512,12,64]{3,2,1,0} parameter(1)
  ROOT %back = bf16[64,512,3,12,64]{4,3,2,1,0} custom-call(%qkv, %g), \
custom_call_target="__gpu$xla.gpu.triton", metadata={op_name="step/full/dropout/flash_backward/pallas_call"}
}
"""


def test_our_attention_counts_its_products_and_its_random_numbers():
    scores = 64 * 12 * 512 * 512
    ((_, _, _, operations, single, integers),) = (
        cost(program, *launches(program)) for program in (parse(FLASH),)
    )
    assert (operations, single, integers) == (2 * 7 * scores * 64, False, 2 * 10 * scores)
    kept = parse(FLASH.replace("full/dropout", "causal/kept"))
    assert cost(kept, *launches(kept))[3:] == (7 * scores * 64, False, 0)


def test_on_a_tpu_it_computes_each_pair_of_blocks_once():
    named = "step/full/dropout/tpu_flash_backward"
    program = parse(TPU.replace("step/causal/splash_mha_dkv_no_residuals", named))
    costs = {launch.operation.name: cost(program, launch) for launch in launches(program)}
    assert costs["kernel.1"].operations == 5 * 2 * HEADS * 1024 * 1024 * 64


CUBLAS = """ENTRY %main (x: f32[32,128,64], y: f32[32,128,64]) -> (f32[32,128,128], s8[4194304]) {
  %x = f32[32,128,64]{2,1,0} parameter(0)
  %y = f32[32,128,64]{2,1,0} parameter(1)
  ROOT %product = (f32[32,128,128]{2,1,0}, s8[4194304]{0}) custom-call(%x, %y), \
custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":{"dot_dimension_numbers":\
{"lhs_contracting_dimensions":["2"],"rhs_contracting_dimensions":["2"],"lhs_batch_dimensions":["0"]}}}
}
"""


def test_a_product_of_a_library_is_a_product_and_its_workspace_no_traffic():
    program = parse(CUBLAS)
    assert cost(program, *launches(program))[:5] == (
        "product",
        2 * 32 * 128 * 64 * 4,
        32 * 128 * 128 * 4,
        2 * 32 * 128 * 128 * 64,
        True,
    )
