import bz2
import gzip
import json
import lzma
import os

import pytest
import tensorflow_datasets as tfds

from research.config import Data
from research.data.sources import files, tfds_source
from research.data.sources.documents import documents, fingerprint, holds_tokens, parts, read
from research.errors import EnvironmentFault, LineageWarning, UsageError


def data(source, **changes):
    return Data(**({"source": str(source), "tokenizer": "char", "batch": 2, "length": 4} | changes))


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return f"files:{path}"


@pytest.fixture
def corpus(tmp_path):
    """200 documents in each of the three kinds of file."""
    texts = [f"Document {n} of a café — {'word ' * n}" for n in range(200)]
    lines(tmp_path / "b.jsonl", *({"text": text, "title": "t"} for text in texts[100:150]))
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text}) + "\n\n" for text in texts[150:])
    (tmp_path / "a").mkdir()
    for n, text in enumerate(texts[:100]):
        (tmp_path / "a" / f"{n:03}.txt").write_text(text)
    return tmp_path, texts


def test_every_kind_of_file_in_order(corpus):
    folder, texts = corpus
    assert list(documents(data(f"files:{folder}/**/*.*"), "all")) == texts


def test_home_expands(corpus, monkeypatch):
    folder, texts = corpus
    monkeypatch.setenv("HOME", str(folder))
    assert list(documents(data("files:~/a/*.txt"), "all")) == texts[:100]


def test_documents_split_by_their_text_alone(corpus):
    folder, texts = corpus
    whole = data(f"files:{folder}/**/*.*", holdout=0.2)
    train, validation = list(documents(whole, "train")), list(documents(whole, "validation"))
    assert sorted(train + validation) == sorted(texts)
    assert 20 < len(validation) < 60  # 40 expected; this allows over three deviations
    part = data(f"files:{folder}/a/*.txt", holdout=0.2)
    assert list(documents(part, "validation")) == [text for text in validation if text in texts[:100]]
    more = data(f"files:{folder}/**/*.*", holdout=0.4)
    assert set(validation) < set(documents(more, "validation"))


def test_the_fingerprint_changes_with_the_documents(corpus):
    folder, _ = corpus
    source = f"files:{folder}/a/*.txt"
    before = fingerprint(data(source))
    assert before == fingerprint(data(source, batch=7, length=9, tokenizer="gpt2"))
    assert before != fingerprint(data(source, holdout=0.2))
    assert before != fingerprint(data(source, split="tail"))
    os.utime(folder / "a" / "007.txt", ns=(1, 1))
    assert before == fingerprint(data(source))
    (folder / "a" / "007.txt").write_text("another")
    assert before != fingerprint(data(source))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', r"a\.jsonl:2: not a JSON object: .*"),
        ("a.jsonl", b'{"text": "x"}\n\n[1]\n', r"a\.jsonl:3: not a JSON object: .*"),
        (
            "a.jsonl",
            b'{"body": "x", "id": 1}\n',
            r"a\.jsonl:1: no field text \(data.*; expected one of body, id",
        ),
        ("a.jsonl", b'{"text": 3}\n', r"a\.jsonl:1: field text is not a text but 3"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl:1: .*ud800 is an unpaired surrogate"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl:1: byte 0xff is not UTF-8"),
        ("a.txt", b"one\ntwo\nthr\xe9e\n", r"a\.txt:3: byte 0xe9 is not UTF-8"),
        ("a.txt", b"", r"data\.source=files:.*: no document is in it"),
        ("a.jsonl.gz", b"no gzip", r"a\.jsonl\.gz: damaged gzip file: .*"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9999)[:-9], r"a\.jsonl\.gz: damaged gzip .*"),
        (
            "a.doc",
            b"x",
            r"a\.doc: expected a file that ends in \.txt, \.md, \.jsonl, .*\.parquet; .* also with \.gz, ",
        ),
        ("a.csv", b"label\n1\n", r"a\.csv:1: no field text \(data\.field\); expected one of label"),
        ("a.csv", b"text,id\na, and b,1\n", r"a\.csv:2: 3 cells; expected 2, as above it; a text with"),
        ("a.csv", b'id,text\n1,"open\n2,b\n', r"a\.csv:2: a quote opens and does not close"),
        ("a.csv", b"text,text\na,b\n", r"a\.csv:1: 2 columns are called text"),
        (
            "a.tsv",
            b"label\tbody\n1\tx\n",
            r"a\.tsv:1: no field text .*; expected one of body, label",
        ),
        (
            "a.tsv",
            b"label\ttext\n1\tx\n2\n",
            r"a\.tsv:3: fewer cells than the header has; expected",
        ),
        ("a.tsv", b"text\n\xff\n", r"a\.tsv:2: byte 0xff is not UTF-8"),
        ("a.parquet", b"no parquet", r"a\.parquet: no Parquet file that can be read: .*"),
    ],
)
def test_bad_files_are_named_by_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        list(documents(data(f"files:{tmp_path}/{name}"), "all"))
    assert "\n" not in str(raised.value)
    del raised  # a cycle through this frame, which would keep the file open until some collection


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("files:{}/imput.txt", r"imput\.txt: no such file; did you mean input\.txt\?"),
        ("files:{}/*.jsonl", r"\*\.jsonl: no such file$"),
        ("files:{}/none/*.txt", r"there is no folder .*/none"),
        ("files:{}", r"a folder; expected files, such as files:.*/\*\.txt"),
        ("files:{}/a.txt+b.txt", r"no such file; did you mean files:.*/a\.txt\+files:b\.txt\?"),
        ("{}/input.txt", r"expected tfds:NAME.* or files:GLOB.*; did you mean files:.*/input\.txt\?"),
        ("tfds:", r"data\.source=tfds:: expected tfds:NAME.* or files:GLOB"),
        ("tfds:pyton_docs", r"tfds:pyton_docs: no such data set; did you mean python_docs.*"),
        ("tfds:tiny_shakespear", r"no such data set; did you mean tiny_shakespeare.*"),
        ("tfds:math_qa/x", r"math_qa has no configuration 'x'"),
        ("tfds:python_docs:tran", r"tfds:python_docs: no split tran; did you mean train\?"),
    ],
)
def test_missing_sources_suggest_near_names(tmp_path, source, message):
    (tmp_path / "input.txt").write_text("x")
    with pytest.raises(UsageError, match=message):
        list(documents(data(source.format(tmp_path)), "all"))


def test_links_and_pipes(tmp_path):
    """A link to a folder above it is not followed again and again."""
    (tmp_path / "a.txt").write_text("One.")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "lost.txt").symlink_to(tmp_path / "none.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert list(documents(data(f"files:{tmp_path}/**/*.txt"), "all")) == ["One."]
    with pytest.raises(UsageError, match=r"pipe\.txt: a pipe or a device; expected a file"):
        list(documents(data(f"files:{tmp_path}/pipe.txt"), "all"))
    with pytest.raises(UsageError, match=r"lost\.txt: a link to a file that does not exist"):
        list(documents(data(f"files:{tmp_path}/lost.txt"), "all"))


def test_a_split_without_documents(tmp_path):
    (tmp_path / "input.txt").write_text("To be")
    with pytest.raises(UsageError, match=r"no document validates with data\.holdout=0\.01"):
        list(documents(data(f"files:{tmp_path}/input.txt"), "validation"))


def test_published_needs_a_source_with_splits(tmp_path):
    (tmp_path / "input.txt").write_text("To be")
    with pytest.raises(UsageError, match=r"data\.split=published: files have no splits"):
        list(documents(data(f"files:{tmp_path}/input.txt", split="published"), "train"))
    with pytest.raises(UsageError, match=r"data\.split=published: drop :train from the source"):
        list(documents(data("tfds:python_docs:train", split="published"), "train"))


def test_published_splits_of_python_docs():
    published = data("tfds:python_docs", split="published")
    train, validation = list(documents(published, "train")), list(documents(published, "validation"))
    assert not set(train) & set(validation)
    assert list(documents(published, "all")) == train + validation
    assert (
        list(documents(data("tfds:python_docs:validation+train", split="tail"), "all")) == validation + train
    )
    assert list(documents(data("tfds:python_docs:validation[:3]", split="tail"), "all")) == validation[:3]
    assert list(documents(data("tfds:python_docs", split="tail"), "all")) == train
    assert list(documents(data("tfds:python_docs", split="tail", field="name"), "all")) != train
    with pytest.raises(
        UsageError, match=r"tfds:python_docs: record 0: no field txt \(data\.field\); did you mean text\?"
    ):
        list(documents(data("tfds:python_docs", field="txt"), "train"))


def test_a_set_of_the_catalogue(monkeypatch, tmp_path):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid")  # which would resolve names for us
    with tfds.testing.mock_data(num_examples=5, data_dir=str(tmp_path)):
        assert len(list(documents(data("tfds:lm1b", split="published"), "all"))) == 10
        assert fingerprint(data("tfds:lm1b")) != fingerprint(data("tfds:lm1b:test"))


@pytest.fixture
def foreign(tmp_path):
    """A data set prepared on another machine: its files are here, its code is not."""
    with tfds.core.registered.skip_registration():

        class Verses(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.2.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict({"verse": tfds.features.Text()})
                )

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for n in range(9):
                    yield n, {"verse": f"verse {n}"}

    builder = Verses(data_dir=tmp_path, file_format="array_record")
    with tfds_source.quiet():
        builder.download_and_prepare()
    tfds.core.add_data_dir(tmp_path)
    yield builder.data_path
    tfds.core.utils.file_utils.clear_registered_data_dirs()


def test_a_set_prepared_elsewhere(foreign):
    verses = data("tfds:verses", field="verse", split="tail")
    assert sorted(documents(verses, "all")) == [f"verse {n}" for n in range(9)]
    with pytest.raises(UsageError, match=r"tfds:verses: no split validation; expected one of train"):
        list(documents(data("tfds:verses", field="verse", split="published"), "validation"))


def test_tfrecord_says_how_to_convert(foreign):
    info = foreign / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(EnvironmentFault, match=r"prepared as tfrecord.*tfds convert_format.*array_record"):
        list(documents(data("tfds:verses", field="verse"), "train"))


@pytest.mark.skipif(tfds_source.has_tensorflow(), reason="TensorFlow is here")
def test_a_set_that_needs_tensorflow_names_the_extra_and_all_else():
    extra = r"needs TensorFlow: pip install 'lineage-lm\[tf\]'"
    with pytest.raises(EnvironmentFault, match=f"{extra}; or prepare"):
        list(documents(data("tfds:multi_nli"), "train"))
    beam = "and Apache Beam: pip install apache-beam"
    with pytest.raises(EnvironmentFault, match=f"{extra}, {beam}; or prepare"):
        list(documents(data("tfds:wikipedia/20230601.en"), "train"))
    with pytest.raises(EnvironmentFault, match=f"{extra}, {beam}; and perhaps files fetched by hand; or"):
        list(documents(data("tfds:c4/webtextlike"), "train"))


@pytest.mark.parametrize(
    "name, missing, needed",
    [
        ("big_patent", True, "it is made with Apache Beam: pip install apache-beam; or prepare"),
        ("story_cloze/2016", False, "it needs files fetched by hand: Manual directory .*rocstories"),
    ],
)
def test_a_set_that_needs_beam_or_files_fetched_by_hand_says_so(name, missing, needed, monkeypatch, tmp_path):
    """In one line, and Beam before anything is downloaded."""
    monkeypatch.setattr("tensorflow_datasets.core.utils.file_utils.constants.DATA_DIR", str(tmp_path))
    monkeypatch.setattr(
        tfds_source, "_resolve", lambda urls: pytest.fail("asked for urls") if missing else None
    )
    with pytest.raises(EnvironmentFault, match=needed) as e:
        list(documents(data(f"tfds:{name}"), "train"))
    assert "\n" not in str(e.value)


def test_no_network_is_one_line(monkeypatch, tmp_path):
    def getaddrinfo(*_):
        raise OSError("no network")

    monkeypatch.setattr("tensorflow_datasets.core.utils.file_utils.constants.DATA_DIR", str(tmp_path))
    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(
        EnvironmentFault, match=r"tfds:lm1b: cannot .*www\.statmt\.org is out of reach; or pre"
    ) as e:
        list(documents(data("tfds:lm1b"), "train"))
    assert "\n" not in str(e.value)


def test_a_column_of_a_table(tmp_path):
    (tmp_path / "a.tsv").write_text('label\ttext\n1\t"Quotes" stay\n0\tso\n')
    assert list(documents(data(f"files:{tmp_path}/a.tsv"), "all")) == ['"Quotes" stay', "so"]
    assert list(documents(data(f"files:{tmp_path}/a.tsv", field="label"), "all")) == ["1", "0"]
    assert list(documents(data(f"files:{tmp_path}/a.tsv", field="1"), "all")) == [
        "text",
        '"Quotes" stay',
        "so",
    ]


def test_glue_files(shared_data):
    sentences = list(documents(data(f"files:{shared_data}/glue/CoLA/in_domain_train.tsv", field="3"), "all"))
    assert len(sentences) == 8551  # its paper's number
    pairs = documents(data(f"files:{shared_data}/glue/RTE/train.tsv", field="sentence1"), "all")
    assert len(list(pairs)) == 2490


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = [f"text {n} — é" for n in range(3000)]
    parquet.write_table(pyarrow.table({"n": range(3000), "text": texts}), tmp_path / "a.parquet")
    assert list(documents(data(f"files:{tmp_path}/*.parquet"), "all")) == texts
    with pytest.raises(UsageError, match=r"row 1: no field txt \(data\.field\); did you mean text\?"):
        list(documents(data(f"files:{tmp_path}/*.parquet", field="txt"), "all"))
    with pytest.raises(UsageError, match=r"row 1: field n is not a text but 0"):
        list(documents(data(f"files:{tmp_path}/*.parquet", field="n"), "all"))


def test_paragraphs(tmp_path):
    (tmp_path / "a.txt").write_text("\none\nline\n\n \ntwo\n\nthree\n")
    source = f"files:{tmp_path}/a.txt"
    assert list(documents(data(source, documents="paragraphs"), "all")) == ["one\nline", "two", "three"]
    assert len(list(documents(data(source), "all"))) == 1
    assert fingerprint(data(source)) != fingerprint(data(source, documents="paragraphs"))


def test_a_mixture_is_all_of_its_sources(corpus):
    folder, texts = corpus
    mixture = data(
        f"3*files:{folder}/a/*.txt + 1*files:{folder}/b.jsonl+.5*files:{folder}/c.jsonl.gz", holdout=0.2
    )
    assert sorted(documents(mixture, "all")) == sorted(texts)
    assert [(round(share, 4), source.source.rpartition("/")[2]) for share, source in parts(mixture)] == [
        (0.6667, "*.txt"), (0.2222, "b.jsonl"), (0.1111, "c.jsonl.gz"),
    ]  # fmt: skip
    assert [document.part for document in read(mixture)] == sorted(
        document.part for document in read(mixture)
    )
    train, validation = list(documents(mixture, "train")), list(documents(mixture, "validation"))
    assert sorted(train + validation) == sorted(texts) and not set(train) & set(validation)
    other = data(mixture.source.replace("3*", "9*"), holdout=0.2)
    assert fingerprint(mixture) == fingerprint(other)  # weights choose among examples, not documents
    plus = parts(data("tfds:tiny_shakespeare:train+validation"))
    assert [source.source for _, source in plus] == ["tfds:tiny_shakespeare:train+validation"]


def test_sources_without_shares_are_read_one_after_another(tmp_path):
    """As one pattern that names all of their files does; + joins labelled files so, too."""
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"{name} {name}")
    lines(tmp_path / "c.jsonl", {"text": "c"})
    joined = data(f"files:{tmp_path}/b.txt + files:{tmp_path}/a.txt+files:{tmp_path}/c.jsonl", split="tail")
    assert list(documents(joined, "all")) == ["b b", "a a", "c"]
    assert len(parts(joined)) == 1
    mixture = data(f"1*files:{tmp_path}/b.txt+1*files:{tmp_path}/a.txt", split="tail")
    two = data(f"files:{tmp_path}/b.txt+files:{tmp_path}/a.txt", split="tail")
    assert fingerprint(two) != fingerprint(mixture)
    with pytest.raises(UsageError, match=r"did you mean files:.*/a\.txt\+files:b\.txt\?"):
        list(documents(data(f"files:{tmp_path}/a.txt+b.txt"), "all"))
    with pytest.raises(UsageError, match=r"holds tokens and files:.* text; expected only one kind"):
        holds_tokens(data(f"tokens:{tmp_path}/x.bin+files:{tmp_path}/a.txt", split="tail"))


@pytest.mark.parametrize("source", ["0.5*files:a+files:b", "0*files:a+1*files:b", "files:a+0.5*files:b"])
def test_a_mixture_needs_weights(source):
    with pytest.raises(
        UsageError, match=r"expected a mixture 0\.7\*SOURCE\+0\.3\*SOURCE|no such file|no folder"
    ):
        list(documents(data(source), "all"))


def test_texts_in_other_files(tmp_path):
    """A text compressed or in Markdown, a column of a .csv file, JSON lines with another name."""
    whole = "One.\n\nTwo, or more."
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(whole.encode()))
    (tmp_path / "b.md").write_text(whole)
    for name in ("a.txt.gz", "b.md"):
        assert list(documents(data(f"files:{tmp_path}/{name}"), "all")) == [whole]
        by_paragraphs = data(f"files:{tmp_path}/{name}", documents="paragraphs")
        assert list(documents(by_paragraphs, "all")) == ["One.", "Two, or more."]
    (tmp_path / "c.csv").write_text('id,text\n1,One.\n2,"Two, or\nmore."\n')
    assert list(documents(data(f"files:{tmp_path}/c.csv"), "all")) == ["One.", "Two, or\nmore."]
    assert list(documents(data(f"files:{tmp_path}/c.csv", field="0"), "all")) == ["id", "1", "2"]
    (tmp_path / "d.ndjson").write_text('{"text": "One."}\n')
    assert list(documents(data(f"files:{tmp_path}/d.ndjson"), "all")) == ["One."]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(whole.encode())[:-9])
    with pytest.raises(UsageError, match=r"a\.txt\.gz: damaged gzip file"):
        list(documents(data(f"files:{tmp_path}/a.txt.gz"), "all"))


def test_every_format_is_read_compressed(tmp_path):
    contents = {
        "a.txt": "One.\n",
        "b.md": "One.\n",
        "c.csv": '\ufeffid,text\r\n1,"Zwei,\r\nüber"\r\n',
        "d.tsv": "id\ttext\n1\tZwei\n",
        "e.ndjson": '{"text": "One."}\n',
        "f.json": '[{"text": "One."},\n {"text": "Two."}]\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content, newline="")
        plain = list(documents(data(f"files:{tmp_path}/{name}"), "all"))
        for suffix, pack in {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.items():
            (tmp_path / f"{name}{suffix}").write_bytes(pack(content.encode()))
            assert list(documents(data(f"files:{tmp_path}/{name}{suffix}"), "all")) == plain
    for name in ("a.parquet.gz", "a.bin.gz", "a.gz", "gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"x"))
        with pytest.raises(UsageError, match=rf"{name}: expected a file that ends in"):
            list(documents(data(f"files:{tmp_path}/{name}"), "all"))


def test_cache_names_tell_formats_apart_and_have_not_changed(tmp_path):
    names = ["a.csv.gz", "a.tsv.gz", "a.csv.xz", "a.csv", "a.jsonl.gz", "a.json.zst", "a.txt.gz", "a.md"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    suffixes = [suffix for suffix, _ in files.identity([tmp_path / name for name in names])]
    assert suffixes == [".csv.gz", ".tsv.gz", ".csv.xz", ".csv", ".gz", ".zst", ".txt.gz", ".md"]


def test_a_compressed_text_is_not_mistaken_for_the_same_bytes_as_json_lines(tmp_path):
    for name in ("a.txt.gz", "b.jsonl.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b'{"text": "One."}\n'))
    first, second = (fingerprint(data(f"files:{tmp_path}/{name}")) for name in ("a.txt.gz", "b.jsonl.gz"))
    assert first != second


def test_nulls_in_json_lines_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n{"text": null}\n{"text": null}\n')
    with pytest.warns(LineageWarning, match=r"a\.jsonl: lines with null for text left out: 2"):
        assert list(documents(data(f"files:{tmp_path}/a.jsonl"), "all")) == ["One."]
