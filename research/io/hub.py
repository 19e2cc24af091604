"""Repositories of the Hugging Face Hub, in the Hub library's shared cache."""

import itertools
from functools import cache
from pathlib import Path

from research.errors import EnvironmentFault, UsageError
from research.io.files import expanded

PREFIX = "hub:"
ADAPTER = "adapter_config.json"  # of PEFT: its base model has what is not here, such as a tokenizer
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt", ADAPTER)
DESCRIBED = ("config.json", ADAPTER, "adapter_model.safetensors", "adapter_model.bin")
NEWEST = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
WEIGHTS = ("config.json", ADAPTER, "adapter_model.safetensors", *NEWEST)
# Fetched in this order, each only if there are none of those before it: a repository may have all.
OLDER = (
    ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json", "adapter_model.bin"),
    ("flax_model.msgpack", "flax_model-*.msgpack", "flax_model.msgpack.index.json"),
)
WHOLE = (*NEWEST, *OLDER[0][:-1], *OLDER[1])  # files of a whole model's parameters


def located(path: Path | str, files: tuple[str, ...] = (*WEIGHTS, *TOKENIZER)) -> Path:
    """Downloads `files` of hub:OWNER/NAME[@REVISION] and returns their folder; other paths are unchanged."""
    if not str(path).startswith(PREFIX):
        return expanded(path)
    folder = snapshot(str(path), files, "a directory works too")
    wanted = [WEIGHTS[2:], *OLDER] if "model.safetensors" in files else []
    for before, older in itertools.pairwise(wanted):
        if any(list(folder.glob(pattern)) for pattern in before):
            break
        same = f"{str(path).partition('@')[0]}@{folder.name}"
        folder = snapshot(same, (*files, *older), "a directory works too")
    return folder


@cache  # so that a process reads all files of a repository from one commit
def snapshot(name: str, patterns: tuple[str, ...], otherwise: str) -> Path:
    """A folder with the files of hub:OWNER/NAME[@REVISION] that match `patterns`.

    Without a network it uses the last download. Raises UsageError for a repository or a revision that
    does not exist, EnvironmentFault, with the advice `otherwise`, if the Hub cannot be reached.
    """
    from huggingface_hub import errors, snapshot_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as fault:
        raise UsageError(
            f"{name}: not on the Hub, or not public; expected hub:OWNER/NAME or "
            "hub:OWNER/NAME@REVISION, and a token in HF_TOKEN for private repositories"
        ) from fault
    except Exception as fault:
        raise unreachable(name, fault, otherwise) from fault


def unreachable(name: str, fault: Exception, otherwise: str) -> EnvironmentFault:
    """For an exception of the Hub's library, of many classes, some of the transport's own."""
    reason = str(fault).strip().partition("\n")[0][:120]
    return EnvironmentFault(
        f"{name}: cannot be fetched from the Hub ({type(fault).__name__}: {reason}); {otherwise}"
    )
