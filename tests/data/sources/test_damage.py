"""Damaged files: one line with the file and what is wrong, or, of a format without sums, what is left."""

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from research import weights
from research.data.sources import file_records, files, token_files
from research.errors import UsageError
from research.metrics import squad, squad2
from research.runs.record import experiment_of
from tests.data.finetuning.labelled import vocabulary
from tests.data.sources.test_token_files import llm_c
from tests.io.test_text import zstd
from tests.weights.directory import Directory
from tests.weights.test_openai import publish

TEXTS = [f"“{n}” is a number, {n * n} its square." for n in range(60)]


def documents(path):
    return list(files.read([path], "text", "files"))


def records(path):
    return list(file_records.records(path, {"text", "label"}))


def pickled(path: Path, archive: bool = True) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    directory = Directory("gpt2", path.parent.parent)
    (path.parent / "model.safetensors").unlink()
    state = {name: torch.tensor(array) for name, array in directory.tensors.items()}
    torch.save(state, path, _use_new_zipfile_serialization=archive)


def json_lines(field: str = "text") -> bytes:
    return "".join(json.dumps({field: text, "label": 1}) + "\n" for text in TEXTS).encode()


def parquet(path: Path, **options) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": TEXTS}), path, row_group_size=25, **options)


def squad_file(path: Path) -> None:
    qas = [{"id": str(n), "question": text, "answers": []} for n, text in enumerate(TEXTS)]
    qas[0]["answers"] = [{"text": "is", "answer_start": 4}]
    data = {"data": [{"paragraphs": [{"context": TEXTS[0], "qas": qas}]}]}
    path.write_text(json.dumps(data))


def run_record(path: Path) -> None:
    from research.config.settings import to_json
    from tests.data.finetuning.labelled import tuned

    path.write_text(json.dumps({"experiment": to_json(tuned("bert_sst2", path.parent, "x.tsv"))}))


def huggingface(path: Path) -> None:
    Directory("gpt2", path.parent.parent)
    vocabulary(path.parent)


WHOLE = {  # readers that notice each cut: (file, writer, reader)
    "documents .jsonl.gz": ("a.jsonl.gz", lambda p: p.write_bytes(gzip.compress(json_lines())), documents),
    "documents .json.zst": ("a.json.zst", lambda p: p.write_bytes(zstd(json_lines())), documents),
    "documents .parquet": ("a.parquet", parquet, documents),
    "documents .parquet, zstd, sums": (
        "a.parquet",
        lambda p: parquet(p, compression="zstd", write_page_checksum=True, data_page_version="2.0"),
        documents,
    ),
    "records .jsonl.gz": ("a.jsonl.gz", lambda p: p.write_bytes(gzip.compress(json_lines())), records),
    "records .json": ("a.json", squad_file, records),
    "weights .safetensors": ("gpt2/model.safetensors", huggingface, lambda p: weights.read(p.parent)),
    "weights config.json": ("gpt2/config.json", huggingface, lambda p: weights.read(p.parent)),
    "weights tokenizer.json": ("gpt2/tokenizer.json", huggingface, lambda p: weights.read(p.parent)),
    "weights pytorch_model.bin": ("gpt2/pytorch_model.bin", pickled, lambda p: weights.read(p.parent)),
    "weights pytorch_model.bin, older": (
        "gpt2/pytorch_model.bin",
        lambda p: pickled(p, archive=False),
        lambda p: weights.read(p.parent),
    ),
    "weights .npy": ("gpt1/params_3.npy", lambda p: publish(p.parent), lambda p: weights.read(p.parent)),
    "weights params_shapes.json": (
        "gpt1/params_shapes.json",
        lambda p: publish(p.parent),
        lambda p: weights.read(p.parent),
    ),
    "tokens .npy": ("a.npy", lambda p: np.save(p, np.arange(1, 3000, dtype=np.uint16)), token_files.read),
    "squad's answers": ("dev.json", squad_file, squad.read_answers),
    "squad's predictions": (
        "given.json",
        lambda p: p.write_text(json.dumps({text: text for text in TEXTS})),
        squad.read_predictions,
    ),
    "squad's odds": ("odds.json", lambda p: p.write_text(json.dumps({"a": 1.5, "b": -2})), squad2.read_odds),
    "a run's record": ("experiment.json", run_record, lambda p: experiment_of(p.parent)),
}
PARTS = {  # readers to which a part is a file like any other
    "tokens .bin": ("a.bin", lambda p: p.write_bytes(llm_c(np.arange(1, 3000))), token_files.read),
    "documents .txt": ("a.txt", lambda p: p.write_text("\n\n".join(TEXTS)), documents),
    "documents .jsonl": ("a.jsonl", lambda p: p.write_bytes(json_lines()), documents),
    "documents .tsv": ("a.tsv", lambda p: p.write_text("\n".join(["text", *TEXTS])), documents),
    "records .tsv": ("a.tsv", lambda p: p.write_text("\n".join(["text", *TEXTS])), records),
    "records .csv": (
        "a.csv",
        lambda p: p.write_text("\n".join(["text,label", *(f'"{text}",1' for text in TEXTS)])),
        records,
    ),
    "records .conll": (
        "a.conll",
        lambda p: p.write_text("\n\n".join(text.replace(" ", "\n") for text in TEXTS)),
        records,
    ),
}


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    size, rng = len(content), random.Random(len(content))
    for cut in sorted({1, 2, 3, 4, 9, 18, size // 4, size // 2, 3 * size // 4, size - 9, size - 4, size - 2}):
        yield f"cut at {cut}", content[:cut]
    for place in {*range(min(size, 20)), *(rng.randrange(size) for _ in range(12)), size - 9, size - 3}:
        yield f"flip at {place}", content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
    yield "a hole", content[: size // 3] + bytes(size // 3) + content[2 * size // 3 :]
    yield "another format", bytes(range(256)) * 20
    yield "more at its end", content + b"\0\1\xff"


@pytest.mark.parametrize("case", [*WHOLE, *PARTS])
def test_damage_is_one_line(case, tmp_path):
    name, write, read = (WHOLE | PARTS)[case]
    path = tmp_path / name
    write(path)
    read(path)
    for damage, content in [("cut at 0", b""), *damages(path.read_bytes())]:
        path.write_bytes(content)
        try:
            read(path)
        except UsageError as fault:
            message = str(fault)
            assert "\n" not in message and str(path.parent) in message, (damage, message)
        else:
            assert case in PARTS or not damage.startswith("cut"), damage
