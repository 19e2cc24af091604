"""How much of a chip's memory a program may use."""

from research.bench.plan import usable_of
from research.devices.targets import CHIPS


def test_a_gpus_pool_and_a_tpus_whole():
    assert usable_of(CHIPS["h100"]) == int(0.95 * 84_942_979_072 * 0.92)
    assert usable_of(CHIPS["v5e"]) == int(0.95 * 16 * 2**30)


def test_what_is_not_known_limits_nothing():
    assert usable_of(CHIPS["h100-nvl"]) is None
    assert usable_of(None) is None
