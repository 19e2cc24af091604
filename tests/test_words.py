"""The code speaks the field's language: names that were replaced do not come back.

Each former name of ours is listed beside the field's, which is used instead.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

from research.runs.state import State

ROOT = Path(__file__).parents[1]
ROOMS = ("research", "experiments", "launch", "tests")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
READMES = [ROOT / "README.md", *(page for room in ROOMS for page in (ROOT / room).rglob("README.md"))]

WORDS = {  # in no sentence and no name
    "told": "reported, printed, the message",  # but for "told apart"
    "judged": "evaluated",
    "judge": "evaluate, compare",
    "sealed": "written with its manifest",
    "shelf": "data_files",
    "telling": "progress",
    "revalidate": "evaluate_run",
}
NAMES = {  # of modules, classes, functions and variables
    "Visible": "AttentionMask",
    "Seen": "BlockCache",
    "Marks": "SpecialTokens",
    "Answers": "TaskHead",
    "Subject": "EvalModel",
    "Share": "DeviceSlice",
    "Wanted": "SlurmResources",
    "Store": "TokenStore",
    "JUDGES": "names of their contents",
    "span_answers": "span_decoding",
    "answering": "predictions",
    "judging": "metrics",
    "standing": "status",
    "feeding": "prefetch",
    "fed": "prefetched",
    "seal": "integrity",
    "allocator": "malloc",
    "draws": "counter_rng",
    "near": "did_you_mean",
    "account": "parameters",
    "left_over": "unused_tensors",
}
FIELDS = {"moments", "average"}  # of the train state: now opt_state, ema_params


def names_in(path: Path) -> set[str]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME} | {path.stem, path.parent.name}


def parts_of(text: str) -> set[str]:
    """The words of `text`, also those between the underscores of a name, without escapes such as \\t."""
    return set(re.findall(r"[A-Za-z]+", re.sub(r"\\\w", " ", text)))


@pytest.mark.parametrize("room", ROOMS)
def test_former_names_are_gone(room):
    found = {
        str(path.relative_to(ROOT)): former
        for path in FILES
        if path.is_relative_to(ROOT / room) and path != Path(__file__)
        for former in NAMES.keys() & names_in(path)
    }
    assert not found, {path: f"{name}: now {NAMES[name]}" for path, name in found.items()}


def test_former_words_are_gone():
    found = {
        str(path.relative_to(ROOT)): WORDS.keys()
        & parts_of(path.read_text(encoding="utf-8").replace("told apart", ""))
        for path in (*FILES, *READMES)
        if path != Path(__file__)
    }
    found = {path: {word: WORDS[word] for word in words} for path, words in found.items() if words}
    assert not found, found


def test_the_fields_of_the_state_have_the_names_of_optax():
    assert not FIELDS & set(State.__annotations__) and {"opt_state", "ema_params"} <= set(
        State.__annotations__
    )


def test_a_former_name_is_found(tmp_path):
    path = tmp_path / "shelf.py"
    path.write_text("def is_told(near):\n    return near\n")
    assert {"shelf", "near"} <= names_in(path) and "told" in parts_of(path.read_text())
