"""Targets by name, chips by the device kinds that JAX reports, and a GPU as XLA's compiler reads it."""

import pytest

from research.devices.ahead import describe_gpu, prepare
from research.devices.targets import CHIPS, COMPILED, chip_of, parse_target
from research.errors import EnvironmentFault, UsageError


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GH200 480GB", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A10G", "a10g"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L4", "l4"),
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("cpu", None),
    ],
)
def test_the_chip_of_a_device_kind(kind, name):
    assert chip_of(kind) is (None if name is None else CHIPS[name])


@pytest.mark.parametrize(
    ("typed", "chip", "devices"),
    [
        ("h100", "h100", 1),
        ("h100:8", "h100", 8),
        ("a100-80:4", "a100-80", 4),
        ("v5e-16", "v5e", 16),
        ("v5e:16", "v5e", 16),
        ("v6e", "v6e", 1),
        ("v5p-8", "v5p", 4),  # of its cores, as Google names slices
        ("v5p:8", "v5p", 8),
    ],
)
def test_a_target_is_a_kind_and_a_number(typed, chip, devices):
    assert parse_target(typed) == (typed, CHIPS[chip], devices)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("h10", r"--on h10: h10 is not known; did you mean h100"),
        ("", r"--on :  is not known"),
        ("h100-nvl", "h100-nvl is not known"),  # a speed alone is known of it
        ("h100:0", "expected h100:N, N being a number of devices"),
        ("h100:x", "expected h100:N"),
        ("v5e-3", "expected v5e:N, N being 1, 4, 8, 16"),
        ("v4-8", "v4 is not known"),
    ],
)
def test_other_targets_are_refused(typed, message):
    with pytest.raises(UsageError, match=message):
        parse_target(typed)


def test_a_compiler_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"--on v5e-4: .*pip install 'lineage-lm\[plan-tpu\]'"):
        prepare(parse_target("v5e-4"))


@pytest.mark.parametrize("name", COMPILED)
def test_what_can_be_compiled_for_is_known_whole(name):
    chip = CHIPS[name]
    assert min(chip.memory, chip.bandwidth, chip.link, chip.float32) > 0
    assert chip.half >= chip.float32
    if chip.platform == "gpu":
        text = describe_gpu(chip)
        assert f"device_memory_size: {chip.memory}\n" in text
        assert text.count("{") == text.count("}")
