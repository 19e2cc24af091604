"""A Hub of our own on this machine, that answers as Hugging Face's does: the fixture `hub`."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import constants

from research.io.hub import snapshot

COMMIT = "1234567890" * 4


class Hub(NamedTuple):
    repositories: dict[str, Path]  # OWNER/NAME → the folder with its files, at one commit
    asked: list[str]  # files whose contents were sent
    server: ThreadingHTTPServer

    def shut(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        snapshot.cache_clear()  # as in a later process


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """With a cache of its own."""
    repositories, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(body=True)

        def do_HEAD(self):
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            match self.path.partition("?")[0].strip("/").split("/"):
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

        def _send(self, content: bytes, body: bool, path: Path | None = None) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            if path is None:
                self.send_header("Content-Type", "application/json")
            else:
                self.send_header("ETag", f'"{_listed(path)["oid"]}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def _refuse(self, code: str) -> None:
            self.send_response(404)
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
    snapshot.cache_clear()
    here = Hub(repositories, asked, server)
    yield here
    here.shut()
    thread.join()


def _listed(path: Path) -> dict:
    content = path.read_bytes()
    oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": path.name, "size": len(content), "oid": oid}
