"""A profiled step is traced and summarized; the times in a trace are added up right."""

import gzip
import json

import pytest

from research.training.logging.profile import kind, operations, summary
from research.training.loop import train
from tests.training.tiny import quickstart, timeless


def event(name, microseconds, **args):
    return {"ph": "X", "name": name, "dur": microseconds, "args": args}


TRACE = {
    "traceEvents": [
        event("dot.3", 6e6, hlo_op="dot.3"),
        event("dot.4.clone", 2e6, hlo_op="dot.4.clone"),
        event("loop_fusion.1", 1.5e6, hlo_op="loop_fusion.1"),
        event("copy.1", 0.5e6, hlo_op="copy.1"),
        event("while.7", 9e6, hlo_op="while.7"),
        event("python", 99e6),
        {"ph": "M", "name": "process_name", "args": {"name": "host"}},
    ]
}


def test_operations_are_added_up_by_family():
    assert operations(TRACE) == {"dot": 8.0, "loop_fusion": 1.5, "copy": 0.5}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("dot", "matrix products"),
        ("ynn_fusion", "matrix products"),
        ("input_reduce_fusion", "reductions"),
        ("loop_fusion", "elementwise"),
        ("all-reduce", "communication"),
    ],
)
def test_kinds(name, expected):
    assert kind(name) == expected


def test_the_summary_of_a_trace(tmp_path):
    (tmp_path / "host.trace.json.gz").write_bytes(gzip.compress(json.dumps(TRACE).encode()))
    shown = summary(tmp_path)
    assert "10.000 s of operations" in shown
    assert "80.0%  matrix products" in shown and "80.0%  dot" in shown and "perfetto" in shown


@pytest.mark.slow
def test_a_profiled_run_has_a_trace_and_the_same_numbers(tmp_path):
    lines = []
    plain = quickstart(tmp_path / "c.txt", run__steps=4, run__evaluate_every=0)
    profiled = quickstart(tmp_path / "c.txt", run__steps=4, run__evaluate_every=0, run__profile=3)
    train(plain, tmp_path / "plain", lambda line: None)
    train(profiled, tmp_path / "profiled", lines.append)
    assert timeless(tmp_path / "plain") == timeless(tmp_path / "profiled")
    assert list((tmp_path / "profiled" / "profile").rglob("*.xplane.pb"))
    assert any("perfetto" in line for line in lines)
    assert "matrix products" in "\n".join(lines)
