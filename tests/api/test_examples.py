"""Each example runs as a script and prints facts that must hold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "experiments" / "examples"

EXPECTED = {  # in the order in which they are printed
    "gpt2": [
        r"steps: 60",
        r"validation loss at step 0: 6\.\d+",
        r"validation loss at step 60: (5\.[0-3]|4\.)\d+",  # a uniform guess has ln 512 = 6.24
        r"LanguageModel\(gpt2, 2 × 64, 4 heads, [\d,]+ parameters\)",
        r"loss: 5\.\d+ nats per token",
        r"logits: \(1, (\d+), 512\)",
        r"hidden states: 3 of \(1, \d+, 64\)",
        r"the last token of each head looks at: \[\d+, \d+, \d+, \d+\]",
        r"greedy: ",
        r"sampled: \[",
    ],
    "gpt1": [
        r"training loss: 6\.\d+ to 5\.\d+",
        r"LanguageModel\(gpt1, ",
        r"norms come after the sum: True",
        r"step 30: .* nats per token",
        r"step 60: .* nats per token",
        r"lengths: \[\d+, \d+\], logits: \(2, \d+, 512\)",
        r"attention to the future: 0\.0, in all: 1\.0",
        r"continued: \[",
    ],
    "bert": [
        r"masked tokens right: \d+\.\d%",
        r"losses: 5\.\d+ masked, 0\.[67]\d+ next sentence",
        r"LanguageModel\(bert, ",
        r"\d+ tokens, from \[CLS\] to \[SEP\]",
        r"logits: \(1, \d+, 512\), the largest at \[MASK\]: (?P<best>.+)",
        r"filled in: \['(?P=best) 0\.\d+', ",
        r"states: \(1, \d+, 64\) before the first block",
        r"attention of \[MASK\] to what follows it: \['0\.\d+'",
    ],
    "heads": [
        r"LanguageModel\(gpt2, 2 × 64, 4 heads",
        r"attention to the letter to be repeated",
        r"loss of the second half: [01]\.\d+ nats",  # a uniform guess has ln 26 = 3.26
        r"the head needed most is \d of block 0, with 0\.[5-9]",
        r"with another first half: [4-9]\.\d+ nats",
        r"this head patched: [0-2]\.\d+ nats",
    ],
    "own_loop": [
        r"loss before update 0: 6\.\d+",
        r"gradient norms of the blocks: \[0\.\d+, 0\.\d+\]",
        r"gradient noise scale: -?\d+\.\d sequences",
        r"validation loss after shrinking the weights: 5\.\d+",
        r"validation losses: 5\.\d+, 5\.\d+",
        r"half-way between the two: 5\.[2-9]\d+",  # worse than both
        r"text: '",
    ],
}


def test_every_example_is_run():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(EXPECTED)


def test_the_registry_does_not_import_them():
    code = "import experiments, sys; assert not any('examples' in name for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_prints_what_it_should(name):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(".*".join(EXPECTED[name]), done.stdout, re.DOTALL), done.stdout
