#!/usr/bin/env bash
# Everything there is to know of a GPU, in under nine minutes and without a network: numerics, then speed.
# Without a GPU the same code runs small on the CPU. Writes numerics.json and speed.json into the folder given.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-.}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.45 # two contenders are in memory at once
status=0
timeout 180 python3 -m tests.benchmarks.gpu_numerics --json "$out/numerics.json" || status=1
timeout 345 python3 -m tests.benchmarks.gpu_speed --seconds 330 --json "$out/speed.json" || status=1
exit $status
