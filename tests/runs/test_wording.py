"""Files that several records name: one wording where they are the same, two where they are not."""

from research.runs.wording import Named, alike


def named(source, path=None, data=(), **more):
    paths = {} if path is None else {"data.source": path}
    return Named({"data.source": source, "model.width": 16} | more, paths, data)


def sources(*records):
    return [settings["data.source"] for settings in alike(records)]


def test_the_same_path_is_worded_as_it_was_typed():
    assert sources(named("files:a.txt", "files:/x/a.txt"), named("files:/x/a.txt", "files:/x/a.txt")) == [
        "files:a.txt",
        "files:a.txt",
    ]


def test_equal_words_for_other_files_become_their_paths():
    assert sources(named("files:a.txt", "files:/x/a.txt"), named("files:a.txt", "files:/y/a.txt")) == [
        "files:/x/a.txt",
        "files:/y/a.txt",
    ]


def test_equal_tokens_are_the_same_files_wherever_they_lie():
    """As in a record of an older version, which kept no paths, or of another machine."""
    data = ("1" * 64, "2" * 64)
    records = named("files:a.txt", None, data), named("files:/b/a.txt", "files:/b/a.txt", data)
    assert sources(*records) == ["files:a.txt", "files:a.txt"]
    other = named("files:/c/a.txt", "files:/c/a.txt", ("3" * 64, "4" * 64))
    assert sources(*records, other) == ["files:a.txt", "files:a.txt", "files:/c/a.txt"]


def test_what_is_no_path_stays():
    records = [Named({"data.tokenizer": "bpe:512", "start.weights": None}, {}, ())] * 2
    assert alike(records) == [dict(one.settings) for one in records]
    assert alike([]) == []
