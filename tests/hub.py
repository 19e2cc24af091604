"""A Hub of our own on this machine, that answers as Hugging Face's does: the fixture `hub`."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

import pytest
from huggingface_hub import constants

from research.data.sources.hub.listing import listing
from research.io.hub import snapshot

COMMIT = "1234567890" * 4


class Hub(NamedTuple):
    repositories: dict[str, Path]  # OWNER/NAME → the folder with its files, at one commit
    asked: list[str]  # files whose contents were sent
    server: ThreadingHTTPServer
    datasets: dict[str, dict[str, tuple[str, Path]]]  # OWNER/NAME → {revision: (its commit, its files)}
    gated: set[str]  # data sets whose files are refused

    def shut(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        forget()

    def add(self, name: str, files: dict[str, bytes], folder: Path, revision: str = "main") -> str:
        """A commit of a data set, which its revision is from now on; returns its hash."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        for path, content in files.items():
            (folder / commit / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / commit / path).write_bytes(content)
        here = commit, folder / commit
        self.datasets.setdefault(name, {}).update({revision: here, commit: here})
        return commit


def forget() -> None:
    """As in a later process."""
    snapshot.cache_clear()
    listing.cache_clear()


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """With a cache of its own."""
    repositories, asked, datasets, gated = {}, [], {}, set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(body=True)

        def do_HEAD(self):
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            address, _, query = self.path.partition("?")
            match address.strip("/").split("/"):
                case ["api", "datasets"]:
                    words = parse_qs(query)["search"][0]
                    found = [{"id": name, "sha": COMMIT} for name in datasets if words[:3] in name]
                    self._send(json.dumps(found).encode(), body)
                case ["api", "datasets", owner, name, "refs"]:
                    revisions = datasets[f"{owner}/{name}"].items()
                    listed = [{"name": r, "ref": r, "targetCommit": commit} for r, (commit, _) in revisions]
                    answer = {"branches": listed, "converts": [], "tags": []}
                    self._send(json.dumps(answer).encode(), body)
                case ["api", "datasets", owner, name, kind, revision] if f"{owner}/{name}" in datasets:
                    if (found := datasets[f"{owner}/{name}"].get(unquote(revision))) is None:
                        return self._refuse("RevisionNotFound")
                    commit, folder = found
                    answer = {"id": f"{owner}/{name}", "sha": commit}
                    if kind == "tree":
                        files = sorted(path for path in folder.rglob("*") if path.is_file())
                        answer = [_listed(path, folder) for path in files]
                    self._send(json.dumps(answer).encode(), body)
                case ["datasets", owner, name, "resolve", revision, *rest] if f"{owner}/{name}" in datasets:
                    commit, folder = datasets[f"{owner}/{name}"][unquote(revision)]
                    path = folder / unquote("/".join(rest))
                    if not path.exists():
                        return self._refuse("EntryNotFound")
                    if f"{owner}/{name}" in gated:
                        return self._refuse("GatedRepo", 401)
                    asked.extend([unquote("/".join(rest))] if body else [])
                    self._send(path.read_bytes(), body, path, commit)
                case ["api", "models", owner, name, *rest] if f"{owner}/{name}" in repositories:
                    folder = repositories[f"{owner}/{name}"]
                    if rest[:1] == ["tree"]:
                        files = sorted(path for path in folder.iterdir() if path.is_file())
                        self._send(json.dumps([_listed(path) for path in files]).encode(), body)
                    elif rest in ([], ["revision", "main"], ["revision", COMMIT]):
                        answer = {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": []}
                        self._send(json.dumps(answer).encode(), body)
                    else:
                        self._refuse("RevisionNotFound")
                case [owner, name, "resolve", _, file] if f"{owner}/{name}" in repositories:
                    path = repositories[f"{owner}/{name}"] / file
                    if not path.exists():
                        return self._refuse("EntryNotFound")
                    asked.extend([file] if body else [])
                    self._send(path.read_bytes(), body, path)
                case _:
                    self._refuse("RepoNotFound")

        def _send(self, content: bytes, body: bool, path: Path | None = None, commit: str = COMMIT) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            if path is None:
                self.send_header("Content-Type", "application/json")
            else:
                self.send_header("ETag", f'"{_listed(path)["oid"]}"')
                self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def _refuse(self, code: str, status: int = 404) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    forget()
    here = Hub(repositories, asked, server, datasets, gated)
    yield here
    here.shut()
    thread.join()


def _listed(path: Path, folder: Path | None = None) -> dict:
    content = path.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {
        "type": "file",
        "path": str(path.relative_to(folder or path.parent)),
        "size": len(content),
        "oid": oid,
    }
