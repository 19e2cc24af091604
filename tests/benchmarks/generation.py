"""Tokens a second by length and batch: `python tests/benchmarks/generation.py [--json PATH]`.

Against Transformers' `generate` (extra parity): the same random weights and CPU, greedy, in turns, medians.
With the cache a token costs the same however many came before it, but for attention's share.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import torch
import transformers

from research import weights
from research.generation import GREEDY, sample
from research.models.decoding import decoder

PROMPT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    transformers.logging.disable_progress_bar()
    sizes = {"n_embd": arguments.width, "n_layer": arguments.depth, "n_head": arguments.width // 64}
    torch.manual_seed(0)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = decoder(weights.load(folder).model)
    rows = [
        measured(ours, theirs, batch, length, arguments.turns)
        for batch in arguments.batches
        for length in arguments.lengths
    ]
    print(f"{'batch':>5} {'tokens':>6} {'ours':>9} {'theirs':>9} {'ratio':>6}   tokens a second, of all rows")
    for row in rows:
        speeds = f"{row['ours']:>9.1f} {row['theirs']:>9.1f} {row['ratio']:>6.2f}"
        print(f"{row['batch']:>5} {row['tokens']:>6} {speeds}")
    if arguments.json:
        facts = {"cores": os.cpu_count(), "sizes": sizes, "prompt": PROMPT, "rows": rows}
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


def measured(ours, theirs, batch: int, tokens: int, turns: int) -> dict:
    """Medians over turns, of which the first, which compiles, is left out; and whether the texts agree."""
    prompts = np.random.default_rng(0).integers(1, 50_000, (batch, PROMPT))

    def of_ours():
        return np.stack(list(sample(ours, prompts, tokens, jax.random.key(0), GREEDY)), axis=1)

    def of_theirs():
        ids = torch.from_numpy(prompts)
        return theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )[:, PROMPT:].numpy()

    agree = float((of_ours() == of_theirs()).mean())
    speeds = {"ours": [], "theirs": []}
    for _ in range(turns):
        for name, call in (("ours", of_ours), ("theirs", of_theirs)):
            began = time.perf_counter()
            call()
            speeds[name].append(batch * tokens / (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["theirs"], strict=True)]
    return {"batch": batch, "tokens": tokens, "agree": agree, "ratio": statistics.median(ratios)} | medians


if __name__ == "__main__":
    main()
