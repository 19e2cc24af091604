"""Repositories of the Hugging Face Hub, in its library's own cache, which other programs share."""

from functools import cache
from pathlib import Path

from research.errors import EnvironmentFault, UsageError

PREFIX = "hub:"
TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt")
WEIGHTS = ("config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json")


def located(path: Path | str) -> Path:
    """The folder of weights that a path, which need not exist, or hub:OWNER/NAME[@REVISION] stands for."""
    if str(path).startswith(PREFIX):
        return snapshot(str(path), (*WEIGHTS, *TOKENIZER), "a directory serves too")
    return Path(path).expanduser()


@cache  # so that all that a process reads of a name is of one commit
def snapshot(name: str, wanted: tuple[str, ...], otherwise: str) -> Path:
    """A folder with the files of hub:OWNER/NAME[@REVISION] that are `wanted` (patterns with a *).

    Without a network, as it was when last asked for. Raises UsageError for a repository or a revision that
    is not there, EnvironmentFault where the Hub is out of reach; `otherwise` says what helps then.
    """
    from huggingface_hub import errors, snapshot_download

    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(wanted)))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as fault:
        raise UsageError(
            f"{name}: not on the Hub, or not for all to see; expected hub:OWNER/NAME or "
            "hub:OWNER/NAME@REVISION, and a token in HF_TOKEN for what is private"
        ) from fault
    except Exception as fault:  # of many classes, some of the transport's own
        reason = str(fault).strip().partition("\n")[0][:120]
        raise EnvironmentFault(
            f"{name}: cannot be fetched from the Hub ({type(fault).__name__}: {reason}); {otherwise}"
        ) from fault
