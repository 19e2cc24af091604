"""Environment variables that JAX reads at its start. Set them before importing JAX."""

import ctypes
import importlib.util
import os
import sys
from glob import glob

from research.devices.ahead import PLUGINS

DEVICE_FILES = ("/dev/accel*", "/dev/vfio/[0-9]*", "/dev/nvidia*", "/dev/dxg", "/dev/kfd")  # TPUs, GPUs
# Share of a GPU's memory that JAX reserves at its start, for all arrays and workspaces; JAX's default is
# 0.75.
POOL = 0.92
# XLA aborts a process if one of its simulated CPU devices waits a minute for another, which happens on a busy
# machine. `run.watchdog` detects hangs instead.
WAITS = "--xla_cpu_collective_call_terminate_timeout_seconds"
DAY = 86_400


def prepare_jax() -> None:
    """Sets our defaults for JAX's settings, unless the user has set them."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(POOL))
    flags = os.environ.get("XLA_FLAGS", "")
    if WAITS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {WAITS}={DAY}".strip()
    hide_compilers()


def hide_compilers() -> None:
    """Keeps JAX from searching for devices if only their compilers are installed, to avoid long warnings.

    It changes nothing if there is a driver or a device file, or if JAX_PLATFORMS is set.
    """
    installed = any(importlib.util.find_spec(module.partition(".")[0]) for module, _ in PLUGINS.values())
    if not installed or sys.platform != "linux" or "JAX_PLATFORMS" in os.environ:
        return
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        if not any(glob(pattern) for pattern in DEVICE_FILES):
            os.environ["JAX_PLATFORMS"] = "cpu"
