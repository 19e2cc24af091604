"""Hardware targets: accelerators by name, with the figures that a plan needs.

Rates are of dense products and per device, in FLOP/s and bytes/s; memory is in bytes. Sources: data sheets of
NVIDIA (H100, H200, A100, B200, L40S) and Google's Cloud TPU documentation; the memory sizes, caches, clocks
and core counts of GPUs are those that the CUDA driver reports.
"""

import re
from typing import NamedTuple

from research.errors import UsageError, did_you_mean

INTEGER_UNITS = 64  # of a multiprocessor, from Ampere on


class Cores(NamedTuple):
    """Properties of a GPU, beside its memory, that XLA's compiler needs."""

    capability: tuple[int, int]
    count: int  # streaming multiprocessors
    float_units: int  # of each
    clock: float  # GHz
    cache: int  # bytes of level 2
    shared: int  # bytes of shared memory per multiprocessor
    shared_by_block: int  # … and per block
    threads: int  # at once on each


class Chip(NamedTuple):
    """One kind of device. Without `cores` or `shapes`, no compiler supports it."""

    platform: str  # as JAX calls it
    kinds: tuple[str, ...]  # parts of the device kinds that JAX reports
    half: float  # of products of bfloat16, or of float16 where there is none
    float32: float  # of products as XLA makes them by default: TF32 on a GPU, bfloat16 on a TPU
    memory: float = 0
    bandwidth: float = 0  # of memory
    link: float = 0  # to other devices, in one direction, over all links together
    cores: Cores | None = None
    shapes: dict[int, str] | None = None  # of a TPU's slices, by their number of devices

    @property
    def integers(self) -> float:
        """32-bit integer operations per second; 0 if unknown."""
        return 0 if self.cores is None else self.cores.count * INTEGER_UNITS * self.cores.clock * 1e9


class Target(NamedTuple):
    """A number of devices of one kind."""

    name: str  # as typed: h100:8, v5e-16
    chip: Chip
    devices: int


HOPPER = Cores((9, 0), 132, 128, 1.98, 52_428_800, 233_472, 232_448, 2_048)
AMPERE = Cores((8, 0), 108, 64, 1.41, 41_943_040, 167_936, 166_912, 2_048)
BLACKWELL = Cores((10, 0), 148, 128, 1.965, 132_644_864, 233_472, 232_448, 2_048)
TURING = Cores((7, 5), 40, 64, 1.59, 4_194_304, 65_536, 65_536, 1_024)
AMPERE_GRAPHICS = Cores((8, 6), 82, 128, 1.695, 6_291_456, 102_400, 101_376, 1_536)
ADA = Cores((8, 9), 142, 128, 2.52, 100_663_296, 102_400, 101_376, 1_536)

SQUARES = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
CUBES = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}

CHIPS = {
    "h100": Chip("gpu", ("H100",), 989e12, 494e12, 84_942_979_072, 3.352e12, 450e9, HOPPER),
    "h200": Chip("gpu", ("H200",), 989e12, 494e12, 151_397_597_184, 4.8e12, 450e9, HOPPER),
    "a100-40": Chip(
        "gpu", ("A100", "A100-SXM4-40GB"), 312e12, 156e12, 42_331_013_120, 1.555e12, 300e9, AMPERE
    ),
    "a100-80": Chip("gpu", ("A100-SXM4-80GB",), 312e12, 156e12, 85_100_068_864, 2.039e12, 300e9, AMPERE),
    "b200": Chip("gpu", ("B200",), 2_250e12, 1_100e12, 191_514_411_008, 7.672e12, 900e9, BLACKWELL),
    "l40s": Chip("gpu", ("L40S",), 362e12, 183e12, 47_810_936_832, 0.864e12, 32e9, ADA),
    "l4": Chip(
        "gpu",
        ("L4",),
        121e12,
        60e12,
        23_612_293_120,
        0.3e12,
        32e9,
        ADA._replace(count=58, clock=2.04, cache=50_331_648),
    ),
    "a10": Chip(
        "gpu", ("A10",), 125e12, 62e12, 23_609_475_072, 0.6e12, 32e9, AMPERE_GRAPHICS._replace(count=72)
    ),
    "a10g": Chip(
        "gpu",
        ("A10G",),
        70e12,
        35e12,
        23_684_186_112,
        0.6e12,
        32e9,
        AMPERE_GRAPHICS._replace(count=80, clock=1.71),
    ),
    "rtx-4090": Chip(
        "gpu",
        ("RTX 4090",),
        165e12,
        82e12,
        25_393_692_672,
        1.008e12,
        32e9,
        ADA._replace(count=128, cache=75_497_472),
    ),
    "rtx-3090": Chip("gpu", ("RTX 3090",), 71e12, 35e12, 25_286_672_384, 0.936e12, 32e9, AMPERE_GRAPHICS),
    "t4": Chip("gpu", ("T4",), 65e12, 8.1e12, 15_843_721_216, 0.32e12, 16e9, TURING),
    "v5e": Chip(
        "tpu", ("TPU v5 lite", "TPU v5e"), 197e12, 197e12, 16 * 2**30, 0.819e12, 200e9, None, SQUARES
    ),
    "v5p": Chip("tpu", ("TPU v5", "TPU v5p"), 459e12, 459e12, 95 * 2**30, 2.765e12, 600e9, shapes=CUBES),
    "v6e": Chip("tpu", ("TPU v6",), 918e12, 918e12, 32 * 2**30, 1.64e12, 400e9, shapes=SQUARES),
    # Only their speed is known.
    "h100-pcie": Chip("gpu", ("H100 PCIe",), 756e12, 378e12),
    "h100-nvl": Chip("gpu", ("H100 NVL",), 835e12, 418e12),
    "v4": Chip("tpu", ("TPU v4",), 275e12, 275e12),
}

CORES_A_CHIP = {"v5p": 2}
COMPILED = [name for name, chip in CHIPS.items() if chip.cores or chip.shapes]


def chip_of(kind: str) -> Chip | None:
    """The chip of a device kind that JAX reports, by the longest matching name."""
    named = {part: chip for chip in CHIPS.values() for part in chip.kinds if part in kind}
    return named[max(named, key=len)] if named else None


def parse_target(typed: str) -> Target:
    """Parses `h100`, `h100:8`, `v5e-16`: a kind and its number of devices; a TPU chip is one device.

    After a dash, as in Google's slice names, v5p counts two cores per chip. Raises UsageError for a kind
    without a compiler, and for a TPU slice that does not exist.
    """
    name, _, number = typed.partition(":")
    if name not in COMPILED and (slice_ := re.fullmatch(r"(v\w+)-(\d+)", typed)):
        name, number = slice_[1], str(int(slice_[2]) // CORES_A_CHIP.get(slice_[1], 1))
    if name not in COMPILED:
        raise UsageError(
            f"--on {typed}: {name} is not known{did_you_mean(name, COMPILED)}; "
            "with a number of devices: h100:8, v5e-16; or here"
        )
    chip = CHIPS[name]
    count = int(number or 1) if number.isdecimal() or not number else 0
    if count < 1 or (chip.shapes and count not in chip.shapes):
        sizes = ", ".join(map(str, chip.shapes or ())) or "a number of devices"
        raise UsageError(f"--on {typed}: expected {name}:N, N being {sizes}")
    return Target(typed, chip, count)
