"""Data sets of a Hub on this machine: what is read, at which commit, and what is said where nothing is."""

import json
from io import BytesIO

import jax
import pytest

import experiments
from launch.__main__ import run
from research.config import Data
from research.data.own_text import text_settings
from research.data.sources import documents, schemes
from research.data.sources.hub.dataset import find
from research.data.sources.hub.listing import listing
from research.devices import startup
from research.errors import EnvironmentFault, UsageError
from research.training.resolving import resolve
from tests.hub import forget

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = {"info": {"features": {"label": {"names": ["bad", "fine", "great"], "_type": "ClassLabel"}}}}


def parquet(metadata: dict | None = None, **columns) -> bytes:
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    file = BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def texts(*names: str) -> bytes:
    return parquet(text=[*names, None])


@pytest.fixture
def stories(hub, tmp_path):
    """Two shards and a validation split, twice: as a data set of its own, and as one of two configs."""
    shards = {
        "data/train-00000-of-00002.parquet": texts("one", "two"),
        "data/train-00001-of-00002.parquet": texts("three"),
        "data/validation-00000-of-00001.parquet": texts("four"),
    }
    configs = "- config_name: en\n  data_files: data/train-*\n- config_name: de\n  data_files: x.parquet\n"
    hub.add("lab/stories", shards, tmp_path / "stories")
    many = shards | {"x.parquet": texts("eins"), "README.md": f"---\nconfigs:\n{configs}---\n".encode()}
    hub.add("lab/many", many, tmp_path / "many")
    return hub


def data(source: str, **changes) -> Data:
    return Data(source=source, tokenizer="char", batch=1, length=8, **changes)


def read(source: str, **changes) -> list[str]:
    return list(documents.documents(data(source, **changes), "all"))


def test_documents_of_a_split_are_read_file_by_file(stories):
    found = documents.documents(data("hf:lab/stories"), "all")
    assert next(found) == "one" and stories.asked == ["data/train-00000-of-00002.parquet"]
    assert list(found) == ["two", "three"]
    assert read("hf:lab/stories", split="published") == ["one", "two", "three", "four"]
    assert read("hf:lab/stories:default:validation") == ["four"]
    assert read("hf:lab/many:de") == ["eins"] and read("hf:lab/many:en:train") == ["one", "two", "three"]
    mixture = data("0.5*hf:lab/many:de + 0.5*hf:lab/stories::validation")
    assert list(documents.documents(mixture, "all")) == ["eins", "four"]


def test_the_same_files_are_the_same_data_at_any_commit(stories, tmp_path):
    before = documents.fingerprint(data("hf:lab/stories"))
    first = find("lab/stories").commit
    shards = {
        path: (tmp_path / "stories" / first / path).read_bytes()
        for path in listing("lab/stories", first).files
    }
    second = stories.add("lab/stories", shards | {"README.md": b"# New"}, tmp_path / "stories")
    assert (
        documents.fingerprint(data("hf:lab/stories")) == before
    )  # this process goes on with what it has read
    forget()
    assert find("lab/stories").commit == second != first
    assert documents.fingerprint(data("hf:lab/stories")) == before
    third = shards | {"data/validation-00000-of-00001.parquet": texts("five")}
    stories.add("lab/stories", third, tmp_path / "stories")
    forget()
    assert documents.fingerprint(data("hf:lab/stories")) != before
    assert documents.fingerprint(data(f"hf:lab/stories@{first}")) == before
    assert documents.fingerprint(data("hf:lab/stories::train")) == documents.fingerprint(
        data(f"hf:lab/stories@{first}:default:train")
    )
    assert documents.folder_name(data(f"hf:lab/stories@{first}"), "k") == documents.folder_name(
        data("hf:lab/stories"), "k"
    )


def test_a_run_is_of_the_commit_at_which_it_began(stories, tmp_path):
    first = find("lab/stories").commit
    declared = experiments.get("quickstart")
    typed = {"data.source": "hf:lab/stories"}
    begun = resolve(declared, typed, lambda line: None)
    assert begun.data.source == f"hf:lab/stories@{first}" and begun.data.split == "published"
    stories.add("lab/stories", {"train.parquet": texts("another")}, tmp_path / "stories")
    forget()
    assert resolve(declared, typed, lambda line: None, kept=begun).data.source == begun.data.source
    assert resolve(declared, typed, lambda line: None).data.source != begun.data.source


def test_a_published_validation_split_is_taken_and_else_documents_are_held_out(stories):
    assert text_settings(data("hf:lab/stories"), (), in_pairs=False) == {"data.split": "published"}
    for split in ("documents", "published"):
        one = data("hf:lab/many:de", split=split)  # a document
        assert text_settings(one, (), in_pairs=False) == {"data.split": "tail", "data.holdout": 0.1}
    three = data("hf:lab/stories::train", split="published")
    assert text_settings(three, (), in_pairs=False)["data.split"] == "documents"


def test_where_there_is_no_parquet_the_hubs_own_is_read(hub, tmp_path):
    hub.add("lab/lines", {"train.jsonl": b'{"text": "one"}\n'}, tmp_path / "lines")
    with pytest.raises(
        UsageError, match=r"hf:lab/lines: no Parquet files of config default; its files end in"
    ):
        read("hf:lab/lines")
    converted = {"default/train/0000.parquet": texts("one"), "old/test/0000.parquet": texts("two")}
    commit = hub.add("lab/lines", converted, tmp_path / "lines", "refs/convert/parquet")
    forget()
    assert read("hf:lab/lines") == ["one"] and read("hf:lab/lines:old:test") == ["two"]
    pinned = resolve(experiments.get("quickstart"), {"data.source": "hf:lab/lines"}, lambda line: None)
    assert pinned.data.source == f"hf:lab/lines@{commit}" and read(pinned.data.source) == ["one"]


def test_without_a_network_what_was_listed_and_fetched_is_read(stories):
    commit = find("lab/stories").commit
    assert len(read("hf:lab/stories")) == 3
    stories.shut()
    assert len(read("hf:lab/stories")) == len(read(f"hf:lab/stories@{commit}")) == 3
    for source in ("hf:lab/stories::validation", "hf:lab/many:de"):
        with pytest.raises(EnvironmentFault, match=r"hf:lab/\w+: cannot be fetched from the Hub .*") as error:
            read(source)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "source, message",
    [
        ("hf:lab/storys", r"hf:lab/storys: no such data set on the Hub, .*; did you mean lab/stories\?"),
        ("hf:lab/stories@mein", r"hf:lab/stories@mein: no such revision; did you mean main\?"),
        ("hf:lab/stories:eng", r"hf:lab/stories: no config eng; expected one of default"),
        ("hf:lab/many:ed", r"hf:lab/many: no config ed; did you mean en or de"),
        (
            "hf:lab/many",
            r"hf:lab/many:CONFIG: none is named; expected one of de, en",
        ),
        ("hf:lab/stories::valid", r"hf:lab/stories:default: no split valid; did you mean validation\?"),
        ("hf:a b", r"hf:a b: expected hf:OWNER/NAME\[@REVISION\]\[:CONFIG\[:SPLIT\]\]"),
        ("hf:lab/stories@", r"hf:lab/stories@: expected hf:OWNER"),
    ],
)
def test_what_does_not_exist_is_one_line(source, message, stories):
    with pytest.raises(UsageError, match=message) as error:
        read(source)
    assert "\n" not in str(error.value)


def test_gated_data_and_a_missing_column_are_one_line(stories):
    stories.gated.add("lab/many")
    with pytest.raises(
        UsageError, match=r"hf:lab/many: gated; accept its terms at .*/datasets/lab/many, and"
    ):
        read("hf:lab/many:de")
    with pytest.raises(UsageError, match=r"00000-of-00002\.parquet: row 1: no field story \(data\.field\)"):
        read("hf:lab/stories", field="story")


def test_labels_are_named_and_decide_the_task(hub, tmp_path):
    labelled = parquet(CLASSES, review=[f"A book {n}." for n in range(30)], label=[0, 1, 2] * 10)
    hub.add("lab/reviews", {"train.parquet": labelled, "test.parquet": labelled}, tmp_path / "reviews")
    found = [record for _, record in schemes.records("hf:lab/reviews", ("review", "label"), "train")]
    assert found[2] == {"review": "A book 2.", "label": "great"}
    hidden = parquet(CLASSES, review=["A book."], label=[-1])
    hub.add("lab/hidden", {"test.parquet": hidden}, tmp_path / "hidden")
    assert [record["label"] for _, record in schemes.records("hf:lab/hidden", (), "test")] == [None]

    declared, said = experiments.get("bert_tiny_sst2"), []
    tuned = resolve(declared, {"data.source": "hf:lab/reviews"}, said.append)
    assert tuned.task.fields == ("review",) and tuned.task.labels == ("bad", "fine", "great")
    commit = find("lab/reviews").commit
    assert tuned.data.validation == f"drawn:3:0:hf:lab/reviews@{commit}:default:train"
    assert len(list(schemes.records(tuned.data.source, (), "train"))) == 27
    splits = {"train.parquet": labelled, "valid.parquet": labelled}
    hub.add("lab/both", splits, tmp_path / "both")
    tuned = resolve(declared, {"data.source": "hf:lab/both"}, said.append)
    assert tuned.data.validation.endswith(":default:validation")


@pytest.mark.slow
def test_a_run_trains_on_it_and_its_record_says_on_what(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
    lines = [f"The {n}th file has {n % 7} green lines, and {n % 3} others." for n in range(600)]
    shard = parquet(id=list(range(600)), content=lines)
    shards = {f"data/train-{n:05}-of-00003.parquet": shard for n in range(3)}
    commit = hub.add("lab/files", shards, tmp_path / "files")
    settings = "model.depth=1 model.width=32 model.heads=2 model.context=32 data.batch=2 data.length=32"
    settings += " data.tokenizer=char optimizer.rate.warmup=1 run.sample=0"
    command = ["train", "quickstart", "data.source=hf:lab/files", *settings.split()]
    command += ["--dir", str(tmp_path / "run")]
    with jax.numpy_dtype_promotion("standard"):  # for Adam
        assert run([*command, "run.steps=4"]) == 0
        record = json.loads((tmp_path / "run/experiment.json").read_text())["experiment"]["data"]
        assert record["source"] == f"hf:lab/files@{commit}"
        assert (record["field"], record["split"]) == ("content", "documents")
        hub.add("lab/files", {"train.parquet": shard}, tmp_path / "files")
        forget()
        assert run([*command, "run.steps=5"]) == 0
        hub.shut()
        assert run(["resume", str(tmp_path / "run"), "run.steps=6"]) == 0
