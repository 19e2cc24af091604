"""Tables of parameters are counted once for a declaration, and then read."""

import json

import experiments
from launch.shell import parameter_tables
from launch.shell.parameter_tables import parameter_table
from research.config.settings import override


def test_a_model_is_counted_once(monkeypatch):
    tiny, counted = experiments.get("gpt2_tiny"), []

    def count(total):
        counted.append(total)
        return {"total": total, "shapes": (1, 2)}

    assert parameter_table(tiny, lambda: count(1)) == {"total": 1, "shapes": [1, 2]}
    assert parameter_table(tiny, lambda: count(2)) == {"total": 1, "shapes": [1, 2]}
    deeper = override(tiny, {"model.depth": 5})
    assert parameter_table(deeper, lambda: count(3))["total"] == 3
    monkeypatch.setattr(parameter_tables, "ROOMS", ("config",))  # other code counts anew
    assert parameter_table(tiny, lambda: count(4))["total"] == 4
    assert counted == [1, 3, 4]


def test_the_printed_table_is_the_same_from_either(lineage, monkeypatch):
    counted, kept = (lineage("params", "bert_tiny") for _ in range(2))
    monkeypatch.setattr("launch.declarations._counted", lambda name, overrides: 1 / 0)  # nothing counts
    assert lineage("params", "bert_tiny") == kept == counted and counted[0] == 0
    as_json = json.loads(lineage("params", "bert_tiny", "--json")[1])
    assert as_json["total"] == sum(component["count"] for component in as_json["components"])


def test_own_files_are_asked_each_time(lineage, tmp_path):
    file = tmp_path / "text.txt"
    for text in ("abcab", "abcdefg"):
        file.write_text(text * 30)
        typed = f"data.source=files:{file}", "data.tokenizer=char"
        _, out, _ = lineage("params", "gpt2_tiny", *typed, "--json")
        (tokens,) = [one for one in json.loads(out)["components"] if one["name"].startswith("tokens")]
        assert tokens["shape"][0] == len(set(text))


def test_what_trains_is_counted(lineage):
    """Of gpt2_tiny's four blocks, two; the table and the list by path have the same totals."""
    typed = ("params", "gpt2_tiny", "optimizer.freeze=embeddings+blocks/0-1")
    counted = json.loads(lineage(*typed, "--json")[1])
    parts = {part["name"]: part for part in counted["components"]}
    assert parts["tokens"]["trained"] == 0 and parts["norm/scale"]["trained"] == parts["norm/scale"]["count"]
    assert 2 * parts["blocks/mlp/expand/kernel"]["trained"] == parts["blocks/mlp/expand/kernel"]["count"]
    assert counted["trained"] == sum(part["trained"] for part in parts.values()) < counted["total"]
    total = f"{counted['trained']:,} of {counted['total']:,} parameters train"
    for more in ((), ("--paths",)):
        assert total in lineage(*typed, *more)[1]
    listed = lineage(*typed, "--paths")[1]
    assert all(name in listed for name in parts) and "frozen" in listed
    whole = lineage("params", "gpt2_tiny", "run.seed=7", "--paths")[1]
    assert all(name in whole for name in parts) and "frozen" not in whole and "train" not in whole
