"""`lineage train` on a GPU: nanoGPT's Shakespeare to its loss, and a killed run continued to the same bits.

Run by gpu.sh; exits 1 where either fails. Without a GPU both are short, and any loss is accepted.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import experiments
from research.config.settings import override
from research.runs.metrics_log import read
from tests.benchmarks.peers import has_gpu
from tests.benchmarks.torture import await_save, finish, same, start

RECIPE = 1.475  # nanoGPT's best validation loss, 1.4697, to two digits
SHORT = {"model.width": 32, "model.depth": 2, "model.heads": 2, "data.batch": 4, "run.steps": 60}
KILLED = {"run.steps": 300, "run.checkpoint_every": 50, "run.evaluate_every": 100, "run.deterministic": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=_corpus(), help="tiny Shakespeare, as one text")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.corpus is None or not arguments.corpus.is_file():
        sys.exit("no corpus: expected --corpus, or LINEAGE_DATA with lm/tinyshakespeare/input.txt")
    small = {} if has_gpu() else SHORT
    declared = {"data.source": f"files:{arguments.corpus.resolve()}"} | small
    experiment = override(experiments.get("gpt2_shakespeare_char"), declared)
    with TemporaryDirectory(prefix="lineage-gpu-") as folder:
        resumed = killed(override(experiment, KILLED | small), Path(folder))
        print(
            f"{'killed during a save and continued':<48}{'same bits' if resumed else 'DIFFERS'}", flush=True
        )
        began = time.perf_counter()
        finish(start(experiment, Path(folder) / "recipe"))
        seconds = time.perf_counter() - began
        best = min(row["loss"] for row in read(Path(folder) / "recipe") if row["split"] == "validation")
    print(f"{experiment.name + ', best validation loss':<48}{best:.4f}, in {seconds:.0f} s")
    if arguments.json:
        facts = {"gpu": has_gpu(), "identical": resumed, "best": best, "seconds": seconds}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")
    sys.exit(0 if resumed and (small or best <= RECIPE) else 1)


def killed(experiment, folder: Path) -> bool:
    """Whether a run with a SIGKILL during a save, not its first, ends as one that is left alone."""
    finish(start(experiment, folder / "undisturbed"))
    process = start(experiment, folder / "killed")
    while process.poll() is None and not any((folder / "killed/checkpoints").glob("[0-9]*[0-9]")):
        time.sleep(0.001)
    await_save(process, folder / "killed")
    process.kill()
    process.wait()
    finish(start(experiment, folder / "killed"))
    return same(experiment, folder / "undisturbed", folder / "killed")


def _corpus() -> Path | None:
    data = os.environ.get("LINEAGE_DATA")
    return Path(data, "lm/tinyshakespeare/input.txt") if data else None


if __name__ == "__main__":
    main()
