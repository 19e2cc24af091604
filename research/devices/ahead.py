"""Ahead-of-time compilation for GPUs and TPUs that this machine does not have.

On a CPU the GPU compiler makes no measurements, so it does not choose between kernels as it would on the
device, and does not build cuDNN's graphs.
"""

import importlib.util
import os
from typing import Any

from research.devices.targets import Chip, Target
from research.errors import EnvironmentFault, UsageError

PLUGINS = {"gpu": ("jax_plugins.xla_cuda13", "plan-gpu"), "tpu": ("libtpu", "plan-tpu")}
ENVIRONMENT = {
    "gpu": {
        "JAX_PLATFORMS": "cpu,cuda",
        "CUDA_VISIBLE_DEVICES": "-1",
    },
    "tpu": {
        "JAX_PLATFORMS": "cpu",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # otherwise the first process's lock blocks a second
    },
}
# Both compilers search for their devices (for a TPU over the network) and warn that there are none.
ALWAYS = {
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


def prepare(target: Target) -> None:
    """Sets the environment variables for the compiler of `target`. Call it before JAX looks for devices.

    Raises EnvironmentFault if the compiler is not installed.
    """
    platform = target.chip.platform
    module, extra = PLUGINS[platform]
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise EnvironmentFault(
            f"--on {target.name}: the {platform.upper()} compiler is not installed: "
            f"pip install 'lineage-lm[{extra}]'"
        )
    os.environ.update(ENVIRONMENT[platform] | ALWAYS)


def devices_of(target: Target) -> list[Any]:
    """The devices of `target`, for compilation only."""
    from jax.experimental import topologies

    chip, count = target.chip, target.devices
    if chip.platform == "gpu":
        found = topologies.get_topology_desc(
            target.name, platform="cuda", target_config=describe_gpu(chip), topology=f"1x1x{count}"
        )
        return list(found.devices)
    assert chip.shapes is not None  # as `parse_target` saw
    shape = chip.shapes[count]
    one = {"chips_per_host_bounds": [1, 1, 1]} if count == 1 else {}
    name = f"{target.name.partition(':')[0].partition('-')[0]}:{shape}"
    return list(topologies.get_topology_desc(platform="tpu", topology_name=name, **one).devices)


def describe_gpu(chip: Chip) -> str:
    """Describes a GPU for XLA's compiler: a GpuTargetConfigProto in text form."""
    if chip.cores is None:
        raise UsageError(f"{chip.kinds[0]}: no compiler supports it")
    cores, (major, minor) = chip.cores, chip.cores.capability
    facts = {
        "threads_per_block_limit": 1_024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 49_152,
        "shared_memory_per_core": cores.shared,
        "threads_per_core_limit": cores.threads,
        "core_count": cores.count,
        "fpus_per_core": cores.float_units,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 2**16 - 1,
        "block_dim_limit_z": 2**16 - 1,
        "memory_bandwidth": int(chip.bandwidth),
        "l2_cache_size": cores.cache,
        "clock_rate_ghz": cores.clock,
        "device_memory_size": int(chip.memory),
        "shared_memory_per_block_optin": cores.shared_by_block,
        "registers_per_core_limit": 65_536,
        "registers_per_block_limit": 65_536,
        "thread_dim_limit_x": 1_024,
        "thread_dim_limit_y": 1_024,
        "thread_dim_limit_z": 64,
        "device_address_bits": 64,
    }
    lines = [f"  {name}: {value}" for name, value in facts.items()]
    accelerated = " feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
    lines += [f"  cuda_compute_capability {{ major: {major} minor: {minor}{accelerated} }}"]
    lines += ['  device_vendor: "NVIDIA Corporation"', f'  name: "NVIDIA {chip.kinds[-1]}"']
    lines += [f'  {name}_version: "13.0.0"' for name in ("driver", "runtime", "compile_time_toolkit")]
    lines += ['  dnn_version: "9.10.0"']
    rest = [
        'platform_name: "CUDA"',
        "dnn_version_info { major: 9 minor: 10 patch: 0 }",
        "runtime_version { major: 13 minor: 0 patch: 0 }",
        f'device_description_str: "NVIDIA {chip.kinds[-1]}"',
    ]
    return "\n".join(["gpu_device_info {", *lines, "}", *rest, ""])
