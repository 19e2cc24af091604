"""Labelled records in a .json file: SQuAD's articles, a list of objects, or one object per line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.io import text

Records = Iterator[tuple[str, Mapping[str, Any]]]  # each with its file and place


def records(path: Path) -> Records:
    """(file and place, record) of each object. Raises UsageError for a file of another form."""
    content = text.read_text(path)
    try:
        found = json.loads(content)
    except ValueError as fault:
        if not _has_lines(content):
            raise UsageError(f"{path}: not JSON: {fault}") from fault
        yield from text.json_lines(path)
        return
    listed = found.get("data", [found]) if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UsageError(f"{path}: expected SQuAD's data, a list of objects, or an object in each line")
    for number, one in enumerate(listed, 1):
        if "paragraphs" in one:
            yield from _questions(path, one)
        else:
            yield f"{path}: object {number}", one


def _has_lines(content: str) -> bool:
    """Whether the first line is an object; an error then names the first line that is not."""
    try:
        return isinstance(json.loads(content.lstrip().partition("\n")[0]), dict)
    except ValueError:
        return False


def _questions(path: Path, article: Mapping[str, Any]) -> Records:
    """The questions of one of SQuAD's articles, with TFDS's field names."""
    try:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                found = question | {"context": paragraph["context"]}
                if (answers := question.get("answers")) is not None:
                    found["answers"] = {
                        name: [one[name] for one in answers] for name in ("text", "answer_start")
                    }
                yield f"{path}: question {question['id']}", found
    except (KeyError, TypeError, ValueError) as fault:
        raise UsageError(f"{path}: not in SQuAD's format: {type(fault).__name__} {fault}") from fault
