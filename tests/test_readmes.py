"""The READMEs hold: their links and paths exist, and the parts they show register and compute."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import registry
from research.config import names

ROOT = Path(__file__).parents[1]
TOP = ("research", "experiments", "launch", "tests")
READMES = [ROOT / "README.md", *(page for top in TOP for page in sorted((ROOT / top).rglob("README.md")))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_links_lead_somewhere(readme):
    for target in re.findall(r"\]\(([^)]+)\)", readme.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path, _, heading = target.partition("#")
        found = readme.parent / path
        assert found.exists(), target
        if heading:
            page = found if found.is_file() else found / "README.md"
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in map(slug, headings), target


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_a_page_is_short_and_linked(readme):
    """It begins with links to its sections; research/README.md links the pages below it."""
    text = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    before, *sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    linked = re.findall(r"^- \[.+\]\(#(.+)\)$", before, re.MULTILINE)
    assert linked == [*map(slug, sections[::2])] or len(sections) == 2
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 360
    if ROOT / "research" in readme.parents and readme.parent != ROOT / "research":
        place = readme.relative_to(ROOT / "research").as_posix()
        assert f"({place})" in (ROOT / "research" / "README.md").read_text(encoding="utf-8")


def test_every_file_in_the_table_of_places_exists():
    text = (ROOT / "research" / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Where is …")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w{},/]+(?:\.py|/))(?:: (\w+(?:\.\w+)?))?`", table)
    assert len(named) > 20
    for path, symbol in named:
        for one in expanded(path):
            found = ROOT / "research" / one
            assert found.exists(), path
            if symbol:
                source = found.read_text(encoding="utf-8")
                assert all(re.search(rf"(class|def) {part}\b", source) for part in symbol.split(".")), symbol


def expanded(path: str) -> list[str]:
    """'a/{b,c}.py' as ['a/b.py', 'a/c.py']."""
    before, brace, rest = path.partition("{")
    if not brace:
        return [path]
    inside, _, after = rest.partition("}")
    return [before + one + after for one in inside.split(",")]


def test_every_room_is_in_the_table():
    text = (ROOT / "research" / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Rooms")[2].partition("\n## ")[0]
    rooms = {path.name for path in (ROOT / "research").iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE))


def run_blocks_of_own_package() -> list[str]:
    """Runs the examples of one's own package and parts, which register names."""
    pages = ("config/imports", "models")
    text = "".join((ROOT / "research" / page / "README.md").read_text(encoding="utf-8") for page in pages)
    blocks = BLOCK.findall(text)
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), {"__name__": f"readme_{number}"})
    return blocks


@pytest.mark.slow
def test_parts_of_ones_own_register_and_compute(registries, monkeypatch):
    from research import models
    from research.config.settings import override
    from research.data.sources.documents import documents
    from research.optimizers.optimizer import optimizer

    blocks = run_blocks_of_own_package()
    assert len(blocks) == 11 and len(blocks[0].splitlines()) <= 40

    mine = override(registry.get("my_experiment"), {"model.positions": "sinusoidal", "model.width": 16})
    model = models.build(mine.model, key=jax.random.key(0))
    tokens = np.tile(np.arange(8, dtype=np.int32), (2, 1))
    ones = jnp.ones_like(tokens, jnp.float32) / tokens.size
    batch = {"tokens": jnp.asarray(tokens), "targets": jnp.asarray(tokens), "weights": ones}
    sums = names.OBJECTIVES["late_tokens"].loss(model, batch, None, mine.objective)
    assert np.isfinite(float(sums["loss"])) and model.positions is None
    close = override(mine, {"objective.name": "stay_close", "objective.own.strength": 1.0}).objective
    taught = batch | {"teacher": jax.tree.map(lambda x: x + 0.1, model)}
    sums = names.OBJECTIVES["stay_close"].loss(model, taught, None, close)
    count = sum(leaf.size for leaf in jax.tree.leaves(model))
    np.testing.assert_allclose(sums["loss"] - sums["hard_loss"], 0.005 * count, rtol=1e-2)
    window = models.build(override(mine, {"model.positions": "window"}).model, key=jax.random.key(0))
    assert np.isfinite(window(jnp.asarray(tokens))).all()
    update = optimizer(mine.optimizer, mine.run.steps)
    assert jax.tree.leaves(update.init(model))
    heavy = override(mine, {"optimizer.name": "heavy_ball", "optimizer.own.nesterov": True})
    assert jax.tree.leaves(optimizer(heavy.optimizer, heavy.run.steps).init(model))
    adapted = models.build(override(mine, {"model.block": "adapter"}).model, key=jax.random.key(0))
    plain = models.build(mine.model, key=jax.random.key(0))
    assert (adapted(jnp.asarray(tokens)) == plain(jnp.asarray(tokens))).all()  # before training
    leaky = override(mine, {"model.activation": "leaky_relu", "model.own.activation.slope": 1})
    assert np.isfinite(models.build(leaky.model, key=jax.random.key(0))(jnp.asarray(tokens))).all()

    squares = override(mine, {"data.source": "squares:3", "data.split": "documents"}).data
    assert len(list(documents(squares, "all"))) == 3
    assert "last_token" in names.TASKS
    assert posted(names.TRACKERS["webhook"], monkeypatch) == {"run": "mine", "step": 1, "loss": 2.5}
    confidence = names.EVALUATORS["confidence"](mine, None)
    measured = confidence.measure(model, lambda: iter([{"tokens": tokens}]))
    assert 0 < float(measured["prediction_entropy"]) < np.log(mine.model.vocabulary)
    assert registry.get_sweep("my_rates").budget == 12


def posted(tracker, monkeypatch):
    """What the README's webhook sends for a row."""
    from research.training.logging.tracker import TrackedRun

    found = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("WEBHOOK", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        tracker(TrackedRun(ROOT, "mine", None, {}, 0, 1)).write({"step": 1, "loss": 2.5})
        thread.join()
    return found[0]


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_in_haste")
def test_analyses_inside_a_model_are_those_of_the_readme(monkeypatch):
    """Direct attribution adds up, a path is the query by hand, an effect is that of one edit."""
    import research
    from tests.api.test_activations import of_gpt2

    text = (ROOT / "research" / "api" / "README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(research, "load", lambda path: of_gpt2())
    found: dict = {"__name__": "inside"}
    for block in BLOCK.findall(text.partition("## Inside a model")[2].partition("\n## ")[0]):
        exec(compile(block, "inside", "exec"), found)
    model, p, here, there = (found[name] for name in ("model", "p", "here", "there"))
    logits, direction = model.logits(found["clean"])[0, -1], found["direction"]
    np.testing.assert_allclose(found["lens"][-1][0, -1], logits, rtol=1e-5)
    rest = here["embeddings"][0, -1] + sum(p["blocks/attention/output/bias"])
    rest = rest @ direction + p["norm/bias"] @ (p["tokens"][7] - p["tokens"][8])
    total = found["by_head"].sum() + sum(found["by_mlp"]) + rest
    assert float(total) == pytest.approx(float(logits[7] - logits[8]), rel=1e-4)

    sender = "blocks/0/attention/heads"
    change = (there[sender] - here[sender])[:, :, 1] @ found["kernels"][0, 1]
    block = jax.tree.map(lambda x: x[1], model.module.blocks)
    read = block.attention.qkv(block.attention_norm(here["blocks/0/output"] + change))
    np.testing.assert_allclose(found["query"], read.reshape(1, 4, 3, 2, 4)[:, :, 0, 0], atol=1e-5)
    assert abs(found["query"] - here["blocks/1/attention/query"][:, :, 0]).max() > 1e-3
    patched = {"blocks/0/output": lambda x: x.at[:, 1].set(there["blocks/0/output"][:, 1])}
    new = model.edited(patched).logits(found["clean"])[0, -1]
    effect = (new[7] - new[8]) - (logits[7] - logits[8])
    assert float(found["effects"][0, 1]) == pytest.approx(float(effect), abs=1e-5)
    assert abs(found["effects"][0, 0]) < 1e-5 and abs(effect) > 1e-3  # the first tokens are the same
    assert found["estimates"].shape == found["effects"].shape == (2, 4)


@pytest.mark.slow
def test_a_loop_of_ones_own_is_that_of_the_readme(tmp_path, monkeypatch):
    """With a smaller model and text."""
    import research
    from tests.training.tiny import quickstart

    text = (ROOT / "research" / "api" / "README.md").read_text(encoding="utf-8")
    (block,) = BLOCK.findall(text.partition("## A loop of your own")[2].partition("\n## ")[0])
    small = quickstart(tmp_path / "text.txt", run__steps=100, run__sample=0)
    monkeypatch.setattr(research, "resolve", lambda name, changes: small, raising=False)
    monkeypatch.chdir(tmp_path)
    found: dict = {"__name__": "loop"}
    with jax.numpy_dtype_promotion("standard"):
        exec(compile(block, "the loop", "exec"), found)
    assert int(found["state"].step) == 100 and found["row"]["loss"] < 5
    assert research.load("weights").logits("7 green bottles").shape[-1] == small.model.vocabulary
