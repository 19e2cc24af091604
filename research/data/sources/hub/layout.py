"""Which Parquet files of a data set on the Hub belong to a config and a split.

It follows the `datasets` library: by the `configs` at the top of README.md, else by names of files and
folders. In the branch of the Hub's converted files, folders name them: CONFIG/SPLIT.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from research.errors import UsageError

CONVERTED = "refs/convert/parquet"  # this branch
DEFAULT = "default"  # the config of a data set that declares none

Splits = dict[str, list[str]]  # split → its files, in order
Configs = dict[str, Mapping[str, Any]]  # config → its settings in README.md

EXPORTED = re.compile(r"(?P<config>[^/]+)/(?P<partial>partial-)?(?P<split>[^/]+?)(-part\d+)?/\d+\.parquet")
SHARDS = "data/{}-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9]*.*"
SHARD = re.compile(r"data/(.+)-\d{5}-of-\d{5}[^/]*\.[^/]*")
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
FOLDERS = ("**/{0}/**", "**/{0}[{1}]*/**", "**/*[{1}]{0}/**", "**/*[{1}]{0}[{1}]*/**")
NAMES = ("**/{0}[{1}]*", "**/*[{1}]{0}[{1}]*")
SEPARATORS = "-._ 0-9"  # around a keyword
NO_DATA = {"README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dummy_data.zip"}
NO_DATA |= {"dataset_dict.json"}


def declared(card: str) -> Configs:
    """The configs of a README.md, {} if it has none. Raises UsageError if they cannot be read."""
    from huggingface_hub import DatasetCard

    try:
        listed = DatasetCard(card, ignore_metadata_errors=True).data.get("configs") if card else None
        return {str(one["config_name"]): one for one in listed or ()}
    except Exception as fault:  # of YAML's, and of what is no list of configs
        reason = " ".join(str(fault).split())[:120]
        raise UsageError(f"README.md: its configs cannot be read: {reason}") from fault


def default(configs: Collection[str], settings: Configs) -> str | None:
    """The default config, if there is one."""
    if len(configs) == 1:
        return next(iter(configs))
    chosen = [name for name in configs if settings.get(name, {}).get("default")]
    return chosen[0] if chosen else DEFAULT if DEFAULT in configs else None


def splits(paths: Collection[str], settings: Mapping[str, Any]) -> Splits:
    """The files of a config, from all `paths` of its commit, whatever their format."""
    folder = str(settings.get("data_dir") or "").strip("./")
    inside = {path.removeprefix(f"{folder}/"): path for path in sorted(paths)}
    if folder:
        inside = {short: path for short, path in inside.items() if short != path}
    patterns = settings.get("data_files")
    named = _by_name(inside) if patterns is None else _sanitized(patterns)
    return {
        split: list(dict.fromkeys(inside[one] for pattern in listed for one in _matches(pattern, inside)))
        for split, listed in named.items()
    }


def is_export(paths: Collection[str]) -> bool:
    """Whether these are the files of a commit of `CONVERTED`."""
    visible = [path for path in paths if not path.startswith(".")]
    return bool(visible) and all(map(EXPORTED.fullmatch, visible))


def exported(paths: Collection[str]) -> dict[str, Splits]:
    """{config: its splits} of a commit of `CONVERTED`."""
    found: dict[str, Splits] = {}
    for path in sorted(paths):
        if match := EXPORTED.fullmatch(path):
            found.setdefault(match["config"], {}).setdefault(match["split"], []).append(path)
    return found


def is_partial(path: str) -> bool:
    """Whether a file of `CONVERTED` belongs to a split that is only converted in part."""
    match = EXPORTED.fullmatch(path)
    return match is not None and match["partial"] is not None


def _sanitized(patterns: Any) -> dict[str, list[str]]:
    """{split: patterns} of the `data_files` of a config: a pattern, several, or several by split."""
    if isinstance(patterns, str):
        return {"train": [patterns]}
    if isinstance(patterns, Mapping):
        return {str(split): _several(paths) for split, paths in patterns.items()}
    if all(isinstance(one, str) for one in patterns):
        return {"train": list(patterns)}
    try:
        return {str(one["split"]): _several(one["path"]) for one in patterns}
    except (TypeError, KeyError) as fault:
        raise UsageError(f"README.md: data_files: expected split and path, not {patterns!r:.80}") from fault


def _several(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)


def _by_name(paths: Collection[str]) -> dict[str, list[str]]:
    """{split: patterns} of the first naming convention that matches any file."""
    if shards := [match[1] for path in paths if (match := SHARD.fullmatch(path)) and _is_data(path, "")]:
        found = [*(split for split in KEYWORDS if split in shards), *sorted({*shards} - {*KEYWORDS})]
        return {split: [SHARDS.format(split)] for split in found}
    for forms in (FOLDERS, NAMES):
        by_split = {
            split: [form.format(word, SEPARATORS) for word in words for form in forms]
            for split, words in KEYWORDS.items()
        }
        if found := {
            split: patterns
            for split, patterns in by_split.items()
            if any(_matches(pattern, paths) for pattern in patterns)
        }:
            return found
    return {"train": ["**"]}


def _matches(pattern: str, paths: Collection[str]) -> list[str]:
    from fsspec.utils import glob_translate  # of the Hub's own file system

    pattern = pattern.removeprefix("./")
    fits = re.compile(glob_translate(pattern)).match
    return [path for path in paths if fits(path) and _is_data(path, pattern)]


def _is_data(path: str, pattern: str) -> bool:
    """Whether a match counts: not a card, nor hidden or in a folder __so__, unless the pattern says so."""
    given, asked = PurePosixPath(path), PurePosixPath(pattern)
    if given.name in NO_DATA and given.name != asked.name:
        return False
    hidden = [sum(part.startswith(".") for part in one.parts) for one in (given, asked)]
    special = [sum(part.startswith("__") for part in one.parent.parts) for one in (given, asked)]
    return hidden[0] == hidden[1] and special[0] == special[1]
