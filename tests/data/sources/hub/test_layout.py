"""Files of configs and splits. The expected ones are those of the datasets library (5.2.0)."""

import pytest

from research.data.sources.hub import layout
from research.errors import UsageError

SHARDS = [
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
    "data/validation-00000-of-00001-a1b2.parquet",
    "data/extra-00000-of-00001.parquet",
    "README.md",
]


@pytest.mark.parametrize(
    "paths, expected",
    [
        (SHARDS, {"train": SHARDS[:2], "validation": SHARDS[2:3], "extra": SHARDS[3:4]}),
        (
            ["train.parquet", "dev.parquet", "my-test.parquet", "config.json"],
            {"train": ["train.parquet"], "validation": ["dev.parquet"], "test": ["my-test.parquet"]},
        ),
        (
            ["train/a.parquet", "train/b.parquet", "val/a.parquet", "testing/x.parquet", ".gitattributes"],
            {
                "train": ["train/a.parquet", "train/b.parquet"],
                "validation": ["val/a.parquet"],
                "test": ["testing/x.parquet"],
            },
        ),
        (
            ["en/train/0.parquet", "en/validation.0/0.parquet", "__pycache__/train/x.parquet"],
            {"train": ["en/train/0.parquet"], "validation": ["en/validation.0/0.parquet"]},
        ),
        (["x.parquet", "y.parquet", ".hidden/train/z.parquet"], {"train": ["x.parquet", "y.parquet"]}),
        (["constrain.parquet", "contest.parquet"], {"train": ["constrain.parquet", "contest.parquet"]}),
        (
            ["training_data.parquet", "sub/eval 1.parquet", "sub/my_valid-3.parquet"],
            {
                "train": ["training_data.parquet"],
                "validation": ["sub/my_valid-3.parquet"],
                "test": ["sub/eval 1.parquet"],
            },
        ),
    ],
)
def test_names_of_files_and_folders_tell_the_split(paths, expected):
    assert layout.splits(paths, {}) == expected


CARD = """---
configs:
- config_name: a
  data_files: x/*.parquet
- config_name: b
  default: true
  data_files:
  - split: train
    path: [x/1.parquet, 'y/**']
  - split: test
    path: y/t-*.parquet
- config_name: c
  data_dir: y
---
# A data set
"""


def test_the_card_declares_configs():
    paths = ["x/1.parquet", "x/2.parquet", "y/t-1.parquet", "y/q/r.parquet", "README.md"]
    configs = layout.declared(CARD)
    assert list(configs) == ["a", "b", "c"] and layout.default(list(configs), configs) == "b"
    assert layout.splits(paths, configs["a"]) == {"train": ["x/1.parquet", "x/2.parquet"]}
    assert layout.splits(paths, configs["b"]) == {
        "train": ["x/1.parquet", "y/q/r.parquet", "y/t-1.parquet"],
        "test": ["y/t-1.parquet"],
    }
    assert layout.splits(paths, configs["c"]) == {"train": ["y/q/r.parquet", "y/t-1.parquet"]}
    assert layout.declared("# No header") == layout.declared("") == {}
    assert layout.default(["default", "x"], {}) == "default" and layout.default(["x", "y"], {}) is None
    with pytest.raises(UsageError, match="configs cannot be read"):
        layout.declared("---\nconfigs: [1, {]\n---\n")


def test_folders_name_the_parts_of_what_the_hub_has_converted():
    paths = ["en/train/0000.parquet", "en/train/0001.parquet", "en/test/0000.parquet", ".gitattributes"]
    assert layout.is_export(paths) and not layout.is_export([*paths, "README.md"])
    assert layout.exported([*paths, "de/partial-train-part0/0000.parquet"]) == {
        "en": {"train": paths[:2], "test": paths[2:3]},
        "de": {"train": ["de/partial-train-part0/0000.parquet"]},
    }
    assert layout.is_partial("de/partial-train/0000.parquet") and not layout.is_partial(paths[0])
