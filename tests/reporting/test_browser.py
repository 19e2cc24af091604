"""The page as its readers have it: in a browser, without a network."""

import re
import shutil
from collections.abc import Sequence

import pytest

from research.reporting.facts import facts
from research.reporting.laws.facts import law_facts
from research.reporting.laws.points import Point
from research.reporting.page import law_page, write_page
from tests.reporting import made

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.slow

DRAWN = "id => document.getElementById(id).querySelectorAll('.scatterlayer .trace').length"
SHOWN = "id => document.getElementById(id).data.filter(t => t.visible !== false).map(t => t.name)"


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser):
    """Opens a page; when the test ends, that it asked nobody for anything and had no error."""
    asked, errors, contexts = [], [], []

    def open_(path, width=1280, scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(path.as_uri())
        tab.wait_for_function("document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0")
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    for width in (16, 64, 32):
        made.train(made.experiment(model__width=width), folder / f"width-{width}", text="<i>x</i> </script>")
    write_page(facts([folder]), folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def leaders(swept):
    write_page(facts([swept]), swept / "report.html")
    return swept / "report.html"


def test_training_and_validation_are_drawn_together(opened, three):
    tab = opened(three)
    assert tab.evaluate(DRAWN, "chart-loss") == 9  # each run: smoothed, faintly as measured, validation
    drawn = tab.evaluate("[...document.querySelectorAll('.plot')].map(plot => plot.id)")
    names = ["loss", "accuracy", "bits_per_byte", "learning_rate", "gradient_norm", "tokens_per_second"]
    assert sorted(drawn) == sorted(f"chart-{name}" for name in names)  # not "skipped", which is all zeros
    runs = facts([three.parent])["runs"]
    validation = tab.evaluate("document.getElementById('chart-loss').data.slice(-3).map(t => [t.mode, t.y])")
    assert validation == [["lines+markers", run["validation"]["loss"]] for run in runs]
    points = "#chart-loss .scatterlayer .trace .points path"
    assert tab.locator(points).count() == sum(len(run["validation"]["loss"]) for run in runs)


def test_a_click_in_the_legend_hides_a_run_everywhere(opened, three):
    tab = opened(three)
    tab.click("#runs button[data-run=width-32]")
    for chart in ("chart-bits_per_byte", "chart-gradient_norm"):
        tab.wait_for_function(f"!({SHOWN})('{chart}').includes('width-32')")
        assert set(tab.evaluate(SHOWN, chart)) == {"width-16", "width-64"}
    assert tab.evaluate(DRAWN, "chart-bits_per_byte") == 2
    assert tab.get_attribute("#runs button[data-run=width-32]", "aria-pressed") == "false"
    tab.click("#all")
    tab.wait_for_function(f"({SHOWN})('chart-bits_per_byte').length === 3")
    tab.dblclick("#runs button[data-run=width-16]")
    tab.wait_for_function(f"({SHOWN})('chart-bits_per_byte').join() === 'width-16'")


def test_the_axis_is_switched(opened, three):
    tab = opened(three)
    validation = facts([three.parent])["runs"][0]["validation"]
    for axis in ("tokens", "seconds", "step"):
        tab.click(f"[data-axis={axis}]")
        tab.wait_for_selector(f"[data-axis={axis}][aria-pressed=true]")
        assert tab.evaluate("document.getElementById('chart-bits_per_byte').data[0].x") == validation[axis]


def test_smoothing(opened, three):
    """The first value stays, as no other came before it; none is what was measured."""
    tab = opened(three)
    losses = facts([three.parent])["runs"][0]["train"]["loss"]
    line = "document.getElementById('chart-loss').data[1].y"
    smoothed = tab.evaluate(line)
    assert smoothed[0] == pytest.approx(losses[0]) and smoothed[5] != pytest.approx(losses[5])
    assert smoothed[1] == pytest.approx((0.6 * losses[0] + losses[1]) / 1.6)
    tab.evaluate("document.getElementById('smoothing').value = 0")
    tab.dispatch_event("#smoothing", "input")
    tab.wait_for_function("document.getElementById('chart-loss').data.length === 6")
    assert tab.evaluate("document.getElementById('chart-loss').data[0].y") == losses


TICKS = """([id, axis]) =>
  [...document.querySelectorAll(`#${id} .${axis}tick text`)].map(text => text.textContent)"""
ZOOM = """() => {
  const [low, high] = document.getElementById('chart-loss').layout.xaxis.range;
  Plotly.relayout('chart-loss', {'xaxis.range': [0.8, 0.9].map(share => low + share * (high - low))});
}"""
SEVERAL = f"""([axis, before]) => {{
  const ticks = ({TICKS})(["chart-loss", axis]);
  return ticks.length >= 3 && ticks.join() !== before.join() && ticks;
}}"""
ROUND = re.compile(r"(\d{1,3}|\d?\d\.\d{1,2})[kM]?( s)?|\d{4}")


def several_ticks(tab, end: str, before: Sequence[str] = ()) -> list[str]:
    """Three or more, other than `before`: a zoom is drawn with the old ticks first, then with its own."""
    return tab.wait_for_function(SEVERAL, arg=[end, list(before)]).json_value()


@pytest.mark.parametrize("axis", ["step", "tokens", "seconds"])
def test_ticks_of_logarithmic_axes_are_round_and_follow_a_zoom(opened, three, axis):
    tab = opened(three)
    tab.click(f"[data-axis={axis}]")
    tab.check("#logarithmic")
    tab.check("#logarithmic-axis")
    tab.wait_for_function("document.getElementById('chart-loss').layout.xaxis.type === 'log'")
    for end in ("x", "y"):
        ticks = several_ticks(tab, end)
        assert len(ticks) <= 10 and all(map(ROUND.fullmatch, ticks)), ticks
    first = facts([three.parent])["runs"][0]["validation"][axis][1:]  # zero has no logarithm
    assert tab.evaluate("document.getElementById('chart-loss').data.at(-3).x") == [None, *first]
    before = several_ticks(tab, "x")
    tab.evaluate(ZOOM)
    after = several_ticks(tab, "x", before)
    assert all(map(ROUND.fullmatch, after)), after


OVERLAPS = """plot => {
  const box = (one) => one.getBoundingClientRect();
  const bars = [...plot.querySelectorAll('.modebar-group')].map(box);
  const shown = '.nsewdrag, .axis-title, .axis-heading, .xtick text, .ytick text, .legend';
  const meets = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const covered = (one) => bars.some((bar) => bar.width && meets(bar, box(one)));
  return [...plot.querySelectorAll(shown)].filter(covered).map((one) => one.outerHTML);
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_toolbars_cover_nothing(opened, three, width):
    tab = opened(three, width)
    for plot in tab.locator(".plot").all():
        plot.hover()
        assert plot.locator(".modebar-group").first.bounding_box()["width"] > 0
        assert plot.evaluate(OVERLAPS) == []
    titles = tab.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
    assert "Reset axes" in titles and not [title for title in titles if "share" in title.lower()]


def test_samples_are_text(opened, three):
    tab = opened(three)
    assert tab.inner_text("#sample") == "<i>x</i> </script>, 60"
    tab.evaluate("document.getElementById('sample-index').value = 0")
    tab.dispatch_event("#sample-index", "input")
    assert tab.inner_text("#sample") == "<i>x</i> </script>, 0"


def test_differences_stand_out(opened, three):
    tab = opened(three)
    lines = "#settings tbody tr.differs"
    assert tab.locator(lines).count() == 1
    cells = tab.locator(f"{lines} td").all_inner_texts()
    assert cells == ["16", "32", "64"] and tab.locator("#settings tbody tr:visible").count() == 1
    tab.uncheck("#only-different")
    assert tab.locator("#settings tbody tr:visible").count() > 30


@pytest.mark.slow  # parallel coordinates need WebGL, which a machine without a display computes by hand
def test_a_sweep(opened, leaders):
    tab, found = opened(leaders), facts([leaders.parent])
    rank = {run["name"]: run["outcome"]["rank"] for run in found["runs"]}
    speed = {run["name"]: run["outcome"]["tokens_per_second"] for run in found["runs"]}

    def column() -> list[str]:
        return tab.locator("#leaderboard tbody tr td:first-child").all_inner_texts()

    places = sorted(place for place in rank.values() if place)
    assert [rank[name] for name in column()] == places + [None] * (len(rank) - len(places))
    for down in (True, False):
        tab.click("[data-sort=tokens_per_second]")
        assert [speed[name] for name in column()] == sorted(speed.values(), reverse=down)
    assert tab.get_attribute("th:has([data-sort=tokens_per_second])", "aria-sort") == "ascending"

    trials = [trial for trial in found["sweep"]["trials"] if trial["value"] is not None]
    history = "document.getElementById('chart-history').data[1].y"
    assert tab.evaluate(history) == [trial["value"] for trial in trials]
    parallel = "document.getElementById('chart-parallel').data[0].dimensions"
    assert tab.evaluate(f"{parallel}.map(d => d.label)") == ["peak", "width", "optimizer", "Loss"]
    assert tab.locator("#slices .plot").count() == 3
    assert "no <b>such</b> luck" in tab.inner_text("#failures")
    for plot in tab.locator(".plot").all():
        assert plot.evaluate(OVERLAPS) == []
    tab.locator("#runs button").first.click()
    tab.wait_for_function(f"{history}.length === {len(trials) - 1}")


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1600, "light")])
def test_nothing_overflows(opened, three, width, scheme):
    tab = opened(three, width, scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    widths = "figure => [figure.clientWidth, figure.querySelector('svg.main-svg').clientWidth]"
    plots = tab.evaluate(f"[...document.querySelectorAll('figure')].map({widths})")
    assert plots and all(0 < inner <= outer for outer, inner in plots)


def test_seeds_have_a_table_bars_and_bands(opened, tmp_path):
    for peak in (3e-3, 1e-3):
        for seed in range(3):
            made.train(
                made.experiment(optimizer__rate__peak=peak, run__seed=seed, run__stop_at="loss<3.5"),
                tmp_path / f"{peak}-{seed}",
                shift=seed / 10,
            )
    made.train(made.experiment(optimizer__rate__peak=1e-1), tmp_path / "alone")
    write_page(facts([tmp_path]), tmp_path / "report.html")
    tab, found = opened(tmp_path / "report.html"), facts([tmp_path])["groups"]
    rows = [line.split("\t") for line in tab.locator("#groups tbody tr").all_inner_texts()]
    assert [row[1] for row in rows] == ["0.003", "0.001", "0.1"]
    assert "±" in rows[0][2] and "±" not in rows[2][2] and rows[0][4] == "" and rows[0][-2] == "best"
    assert rows[1][-2] == "no spread: cannot be tested" and "one seed: no interval" in rows[2]
    means = "document.getElementById('chart-means').data[1]"
    assert tab.evaluate(f"{means}.error_x.array") == [line["error"] for line in found["lines"][:2]]
    drawn = "[...document.querySelectorAll('#chart-means .errorbars .errorbar')].length"
    assert (
        found["lines"][2]["error"] is None and tab.evaluate(drawn) == 2
    )  # one seed: no bar, also of length 0
    lines = tab.evaluate("document.getElementById('chart-bands').data.map(one => [one.meta, one.y])")
    assert [name for name, _ in lines] == ["band", "band", "mean"] * 2 + ["mean"]  # one seed has no band
    curve = found["lines"][0]["curve"]
    assert lines[2][1] == curve["mean"]
    assert lines[1][1] == pytest.approx([m + e for m, e in zip(curve["mean"], curve["error"], strict=True)])
    assert "Best mean validation loss" in tab.inner_text("#tiles")
    assert tab.locator("[data-sort=to_target]").count() == 1


def test_a_law_is_drawn_with_its_points_bands_and_predictions(opened, tmp_path):
    sizes = [(N, D) for N in (1e6, 1e7, 1e8) for D in (1e8, 1e9, 1e10)]
    measured = [Point((N, D), (1.7 + 400 / N**0.34 + 410 / D**0.28,), ("<b>r</b>",)) for N, D in sizes]
    over = ["parameters", "tokens"]
    found = law_facts("chinchilla", over, measured[:-2], [(1e9, 1e10)], 20, measured[-2:])
    found |= {"title": "law", "metric": "loss"}
    write_page(found, tmp_path / "law.html", law_page)
    page = opened(tmp_path / "law.html")
    assert page.evaluate(DRAWN, "plot") == 3 * 2 + 3  # of each D two; points, held out, predicted
    assert page.locator("#parameters tbody tr").count() == 6 and page.locator("#points tbody tr").count() == 7
    rows = page.locator("#predictions tbody tr").all_inner_texts()
    assert [text.count(" of 1") for text in rows] == [0, 1, 1]
    assert "is 10 times beyond the largest measured" in page.locator("#warnings").inner_text()
    page.check("#logarithmic")
    assert page.evaluate("() => document.getElementById('plot').layout.yaxis.type") == "log"
    toolbar, legend = (page.locator(f"#plot {name}").bounding_box() for name in (".modebar", ".legend"))
    assert legend["x"] + legend["width"] < toolbar["x"] or legend["y"] + legend["height"] < toolbar["y"]
