"""Files of a data set on the Hugging Face Hub: their names at a commit, and their content.

The names are kept under home, so a commit that was listed before needs no network, and without a network a
branch is as it was last listed. The content is in the Hub's shared cache.
"""

import difflib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from research.errors import EnvironmentFault, LineageError, UsageError, did_you_mean
from research.io.activity import activity
from research.io.files import write_atomic
from research.io.home import home, use
from research.io.hub import unreachable

COMMIT = re.compile(r"[0-9a-f]{40}")
CARD = "README.md"
FORM = "hf:OWNER/NAME[@REVISION][:CONFIG[:SPLIT]]"
TIMEOUT = 20.0  # seconds
LISTED = 12  # options in a message


class Listing(NamedTuple):
    """A commit of a data set."""

    commit: str
    files: dict[str, str]  # path → the Hub's hash of its content
    card: str  # the text of its README.md


@cache  # so that a process reads all files of a name from one commit
def listing(name: str, revision: str) -> Listing:
    """The files of OWNER/NAME at a branch, a tag or a commit.

    Raises UsageError for a data set or a revision that does not exist or is not accessible; EnvironmentFault
    if the Hub cannot be reached and the revision was never listed here.
    """
    index = _index(name, revision)
    kept = _read(index)
    if COMMIT.fullmatch(revision) and kept:
        use(index)
        return kept
    try:
        with activity(f"listing the files of hf:{name}"):
            found = _ask(name, revision)
    except EnvironmentFault:
        if kept is None:
            raise
        return kept
    with suppress(EnvironmentFault, OSError):  # a home that cannot be written
        index.parent.mkdir(parents=True, exist_ok=True)
        for path in {index, _index(name, found.commit)}:
            write_atomic(path, json.dumps(found._asdict()))
    return found


def fetched(name: str, commit: str, path: str) -> Path:
    """A file of a commit, downloaded if it is not in the Hub's cache. Raises as `listing` does."""
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from tqdm import tqdm

    kept = try_to_load_from_cache(name, path, repo_type="dataset", revision=commit)
    if isinstance(kept, str):
        return Path(kept)
    with activity(f"fetching {path} of hf:{name}") as show, _faults(name, commit):

        class Bar(tqdm):  # as a detail of the activity, not a line of its own
            def __init__(self, *args, **named):
                super().__init__(*args, **{k: v for k, v in named.items() if k != "name"} | {"disable": True})
                self.got, self.size = named.get("initial", 0), named.get("total") or 0

            def update(self, n=1):
                self.got += n or 0
                show(f"{self.got / 1e6:,.0f} of {self.size / 1e6:,.0f} MB")

        # Fails at once without a network; the download would retry for half a minute.
        HfApi().dataset_info(name, revision=commit, timeout=TIMEOUT)
        return Path(hf_hub_download(name, path, repo_type="dataset", revision=commit, tqdm_class=Bar))


def nearest(given: str, options: list[str]) -> str:
    """`did_you_mean`, or the first of many options."""
    hint = did_you_mean(given, options)
    if len(options) <= LISTED or "did you mean" in hint:
        return hint
    return f"; expected one of {', '.join(options[:LISTED])}, … ({len(options):,})"


def _ask(name: str, revision: str) -> Listing:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    with _faults(name, revision):
        commit = api.dataset_info(name, revision=revision, timeout=TIMEOUT).sha or revision
        if known := _read(_index(name, commit)):
            return known
        tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
        files = {
            entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
            for entry in tree
            if isinstance(entry, RepoFile)
        }
    card = fetched(name, commit, CARD).read_text(encoding="utf-8", errors="replace") if CARD in files else ""
    return Listing(commit, files, card)


@contextmanager
def _faults(name: str, revision: str) -> Iterator[None]:
    """Turns exceptions of the Hub's library into one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except LineageError:
        raise
    except errors.GatedRepoError as fault:
        raise UsageError(
            f"hf:{name}: gated; accept its terms at {constants.ENDPOINT}/datasets/{name}, and set HF_TOKEN"
        ) from fault
    except errors.RevisionNotFoundError as fault:
        hint = _near_revisions(name, revision)
        raise UsageError(f"hf:{name}@{revision}: no such revision{hint}") from fault
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as fault:
        raise UsageError(
            f"hf:{name}: no such data set on the Hub, or not public{_near_names(name)}; expected {FORM}, "
            "and a token in HF_TOKEN for private ones"
        ) from fault
    except Exception as fault:
        raise unreachable(f"hf:{name}", fault, "files:GLOB reads local Parquet files") from fault


def _near_names(name: str) -> str:
    from huggingface_hub import HfApi

    with suppress(Exception):  # optional help in a message
        words = re.sub(r"\W+", " ", name.rpartition("/")[2]).strip()
        found = [dataset.id for dataset in HfApi().list_datasets(search=words, sort="downloads", limit=5)]
        matches = difflib.get_close_matches(name, found, n=2, cutoff=0.3) or found[:2]
        return f"; did you mean {' or '.join(matches)}?" if matches else ""
    return ""


def _near_revisions(name: str, revision: str) -> str:
    from huggingface_hub import HfApi

    with suppress(Exception):
        refs = HfApi().list_repo_refs(name, repo_type="dataset")
        return nearest(revision, [ref.name for ref in (*refs.branches, *refs.tags)])
    return ""


def _index(name: str, revision: str) -> Path:
    return home() / "hub" / (re.sub(r"[^\w.@-]", "--", f"{name}@{revision}") + ".json")


def _read(index: Path) -> Listing | None:
    """Reads the kept listing; None if there is none or it is damaged, so that the Hub is asked again."""
    try:
        kept = json.loads(index.read_text(encoding="utf-8"))
        return Listing(str(kept["commit"]), dict(kept["files"]), str(kept["card"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
