"""A figure's curves are means over seeds; its file is the same each time, and has its fonts."""

import itertools
import re
import sys

import numpy as np
import pytest

from research.errors import EnvironmentFault, UsageError
from research.reporting.facts import facts
from research.reporting.figures.curves import smooth
from research.reporting.figures.figure import Options, curves, write_figure
from research.reporting.runs import runs_in
from tests.reporting import made


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Two widths, of which one has three seeds; losses of other seeds are shifted by 0.1."""
    folder = tmp_path_factory.mktemp("seeds")
    for seed in range(3):
        directory = folder / f"wide-{seed}"
        made.train(made.experiment(model__width=64, run__seed=seed, run__keep=1 + seed), directory)
        rows = directory / "metrics.jsonl"
        shift = lambda found, by=seed / 10: f'"loss": {float(found[1]) + by}'  # noqa: E731
        rows.write_text(re.sub(r'"loss": ([0-9.]+)', shift, rows.read_text()))
    made.train(made.experiment(model__width=16), folder / "narrow")
    return folder


@pytest.mark.parametrize("over, key", [("steps", "step"), ("tokens", "tokens"), ("seconds", "seconds")])
def test_runs_that_differ_only_in_the_seed_are_a_mean_with_its_error(seeds, over, key):
    narrow, wide = curves(runs_in([seeds]), Options(over=over, smoothing=0.9))  # which smooths no validation
    measured = {run["name"]: run["validation"] for run in facts([seeds])["runs"]}
    assert (narrow.label, narrow.runs, wide.label, wide.runs) == ("width 16", 1, "width 64", 3)
    assert narrow.error_P is None
    np.testing.assert_allclose(narrow.mean_P, measured["narrow"]["loss"])
    np.testing.assert_allclose(wide.x_P, measured["wide-0"][key], atol=1e-9)
    np.testing.assert_allclose(wide.mean_P, np.array(measured["wide-0"]["loss"]) + 0.1)
    np.testing.assert_allclose(wide.error_P, 0.1 / np.sqrt(3))  # 0, 0.1, 0.2: a deviation of 0.1


def test_over_a_setting_a_point_is_the_mean_of_runs_that_end_there(tmp_path):
    for width, peak, seed in itertools.product((16, 64), (3e-3, 1e-2), (0, 1)):
        made.train(
            made.experiment(model__width=width, optimizer__rate__peak=peak, run__seed=seed),
            tmp_path / f"{width}-{peak}-{seed}",
        )
    made.train(made.experiment(model__width=64, optimizer__rate__peak=0.1), tmp_path / "cut", until=30)
    ends = {run["name"]: run["validation"]["loss"][-1] for run in facts([tmp_path])["runs"]}
    found = curves(runs_in([tmp_path]), Options(over="peak"))
    assert [curve.label for curve in found] == ["width 16", "width 64"]
    for width, curve in zip((16, 64), found, strict=True):
        np.testing.assert_allclose(curve.x_P, [3e-3, 1e-2])  # what was cut short does not count
        pairs = [[ends[f"{width}-{peak}-{seed}"] for seed in (0, 1)] for peak in (3e-3, 1e-2)]
        np.testing.assert_allclose(curve.mean_P, np.mean(pairs, axis=1))
        np.testing.assert_allclose(curve.error_P, np.std(pairs, axis=1, ddof=1) / np.sqrt(2))
    write_figure([tmp_path], tmp_path / "rates.svg", Options(over="optimizer.rate.peak", log="x"))
    for run in ("64-0.003-0", "16-0.01-0"):  # cut short: nothing is left to draw
        rows = (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        (tmp_path / run / "metrics.jsonl").write_text("\n".join(rows[:20]))
    with pytest.raises(UsageError, match="no run has finished: 2 stopped"):
        write_figure(
            [tmp_path / "64-0.003-0", tmp_path / "16-0.01-0"], tmp_path / "b.svg", Options(over="peak")
        )


def test_settings_that_were_drawn_at_random_are_not_joined_to_a_line(tmp_path):
    """Each rate occurs once, so by the numbers alone optimizer and decay would follow from the rate."""
    drawn = [(1e-3, "adamw", 0.1), (2e-3, "lion", 0.3), (3e-3, "adamw", 0.01), (4e-3, "lion", 0.2)]
    for number, (peak, name, decay) in enumerate(drawn):
        changes = {"optimizer__rate__peak": peak, "optimizer__name": name, "optimizer__decay": decay}
        for seed in (0, 1):  # which support nothing
            made.train(made.experiment(**changes, run__seed=seed), tmp_path / f"{number}-{seed}")
    found = curves(runs_in([tmp_path]), Options(over="peak"))
    assert [curve.label for curve in found] == ["optimizer adamw", "optimizer lion"]
    assert all(not curve.joined and curve.also == ("decay",) and len(curve.x_P) == 2 for curve in found)
    write_figure([tmp_path], tmp_path / "points.svg", Options(over="peak"))


def test_a_setting_that_follows_from_another_needs_no_label(tmp_path):
    """Heads are two for each 16 of width, with either optimizer: these repeat the widths."""
    for width, name in itertools.product((16, 32, 64), ("adamw", "lion")):
        changes = {"model__width": width, "model__heads": width // 8, "optimizer__name": name}
        made.train(made.experiment(**changes), tmp_path / f"{width}-{name}")
    found = curves(runs_in([tmp_path]), Options(over="width"))
    assert [(curve.label, curve.joined, len(curve.x_P)) for curve in found] == [
        ("optimizer adamw", True, 3),
        ("optimizer lion", True, 3),
    ]


def test_what_a_sweep_samples_is_drawn_as_points(swept):
    found = curves(runs_in([swept]), Options(over="peak"))
    assert not any(curve.joined for curve in found)
    labels = {curve.label for curve in found}
    assert all("width" in label and "optimizer" in label for label in labels)


def test_smoothing_is_a_weighted_mean_of_what_came_before():
    values = np.array([4.0, np.nan, 2.0, 1.0])
    weights = np.array([0.25, 0.5, 1.0])
    expected = [4.0, np.nan, (0.5 * 4 + 2) / 1.5, (weights * [4, 2, 1]).sum() / weights.sum()]
    np.testing.assert_allclose(smooth(values, 0.5), expected)


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_runs_give_the_same_bytes(seeds, tmp_path, suffix):
    options = Options(split="both", log="xy", smoothing=0.5, over="tokens", columns=2)
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in files:
        write_figure([seeds], path, options)
    write_figure([seeds], files[0], options)  # it may be drawn again
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_pdf_has_its_fonts_and_the_width_of_a_column(seeds, tmp_path):
    write_figure([seeds], tmp_path / "one.pdf", Options(split="both"))
    pdf = (tmp_path / "one.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"CreationDate" not in pdf
    assert b"/MediaBox [ 0 0 234 " in pdf  # 3.25 inches of 72 points
    write_figure([seeds], tmp_path / "two.svg", Options(columns=2))
    svg = (tmp_path / "two.svg").read_text()
    assert 'width="486pt"' in svg and "<text" not in svg and "http://www.w3.org" in svg  # glyphs are outlines


def texts(monkeypatch, seeds, path, options) -> list[str]:
    """All texts of a figure."""
    from matplotlib.text import Text

    found, draw = [], Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, *rest: (found.append(text.get_text()), draw(text, *rest)))
    write_figure([seeds], path, options)
    return [text for text in found if text]


def test_a_figure_says_what_it_shows(seeds, tmp_path, monkeypatch):
    options = Options(split="train", smoothing=0.8, log="xy")
    found = texts(monkeypatch, seeds, tmp_path / "figure.png", options)
    assert {"width 16", "width 64", "Training loss", "Steps"} <= set(found)
    notes = "mean ± standard error, 3 seeds\ntraining: exponential moving average, weight 0.8"
    assert notes in found
    ticks = [text for text in found if re.fullmatch(r"[0-9.]+[kMB]?", text)]
    assert len(ticks) >= 6 and not [text for text in found if "^" in text], found


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("a.svg", Options(metric="los"), "--metric los: not measured in validation; did you mean loss"),
        ("a.jpg", Options(), "expected a name that ends in .svg, .pdf, .png"),
        ("no/a.svg", Options(), "no such directory"),
        ("a.svg", Options(split="test"), "--split test: expected one of train, validation, both"),
        ("a.svg", Options(log="z"), "--log z: expected one of x, y, xy"),
        ("a.svg", Options(columns=3), "--columns 3: expected one of 1, 2"),
        ("a.svg", Options(over="epochs"), "--over epochs: expected steps, tokens, seconds or a number in"),
        ("a.svg", Options(over="widt"), "a number in which runs differ; did you mean model.width"),
        ("a.svg", Options(smoothing=1.0), "--smoothing 1.0: expected a share"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_no_file(seeds, tmp_path, name, options, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        write_figure([seeds], tmp_path / name, options)
    assert not list(tmp_path.iterdir())


def test_another_file_is_not_overwritten(seeds, tmp_path):
    (tmp_path / "thesis.pdf").write_bytes(b"%PDF of years")
    with pytest.raises(UsageError, match="exists and is not a figure"):
        write_figure([seeds], tmp_path / "thesis.pdf", Options())
    assert (tmp_path / "thesis.pdf").read_bytes() == b"%PDF of years"


def test_without_matplotlib_the_extra_is_named(seeds, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'lineage-lm\[figure\]'"):
        write_figure([seeds], tmp_path / "a.svg", Options())
    assert not list(tmp_path.iterdir())
