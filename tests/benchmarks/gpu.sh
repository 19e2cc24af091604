#!/usr/bin/env bash
# What there is to know of a GPU, without a network. Writes a JSON file for each stage into the folder given:
#   gpu.sh FOLDER [numerics] [speed] [learning]       by default all, in at most ten minutes
# The last trains by nanoGPT's recipe and needs LINEAGE_DATA. Without a GPU the same code runs small on the CPU.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-.}
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_MEM_FRACTION=0.45 # two contenders are in memory at once
status=0
stages=${*:2}
for stage in ${stages:-numerics speed learning}; do
  case $stage in
    numerics) timeout 150 python3 -m tests.benchmarks.gpu_numerics --json "$out/numerics.json" ;;
    speed) timeout 330 python3 -m tests.benchmarks.gpu_speed --seconds 315 --json "$out/speed.json" ;;
    learning) timeout 110 python3 -m tests.benchmarks.gpu_learning --json "$out/learning.json" ;;
    *) echo "gpu.sh: $stage: no such stage; expected numerics, speed or learning" >&2 && false ;;
  esac || status=1
done
exit $status
