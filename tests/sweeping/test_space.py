"""The algebra: sizes, laws, refusals, and what Optuna makes of it."""

import optuna
import pytest

import experiments
from research.config import Sweep, space
from research.config.settings import override
from research.errors import UsageError
from research.sweeping.declare import validate_sweep
from research.sweeping.notation import format_space, parse_axis, parse_space
from research.sweeping.record import space_from_json, space_to_json, sweep_from_json, sweep_to_json
from research.sweeping.study.suggest import grid_parameters, suggest

A = space.grid("model.depth", 1, 2, 3)
B = space.grid("optimizer.name", "adamw", "lion")
C = space.grid("data.batch", 4, 8, 16)
RATE = space.log_uniform("optimizer.rate.peak", 1e-4, 1e-2)

SPACES = {
    "axis": (A, 3),
    "constant": (space.grid("model.depth", 2), 1),
    "product": (space.product(A, B), 6),
    "zip": (space.zip(A, C), 3),
    "zip of products": (space.zip(space.product(A, B), space.grid("run.seed", *range(6))), 6),
    "chain": (space.chain(A, space.product(B, C)), 9),
    "chain in product": (space.product(space.chain(A, B), C), 15),
    "chain in chain": (space.chain(space.chain(A, B), A), 8),
    "two chains": (space.product(space.chain(A, A), space.chain(B, C)), 30),
    "integers": (space.product(space.integer("run.seed", 0, 8, 4), B), 6),
}


@pytest.mark.parametrize("swept, size", SPACES.values(), ids=SPACES)
def test_points_are_as_many_as_arithmetic_says(swept, size):
    assert len(space.points(swept)) == len(grid_parameters(swept)) == size


def test_points_by_hand():
    assert space.points(space.product(A, B))[:3] == [
        {"model.depth": 1, "optimizer.name": "adamw"},
        {"model.depth": 1, "optimizer.name": "lion"},
        {"model.depth": 2, "optimizer.name": "adamw"},
    ]
    assert space.points(space.zip(A, C)) == [
        {"model.depth": depth, "data.batch": batch} for depth, batch in ((1, 4), (2, 8), (3, 16))
    ]
    assert space.points(space.chain(B, A))[-1] == {"model.depth": 3}


@pytest.mark.parametrize("swept, size", SPACES.values(), ids=SPACES)
def test_optuna_is_led_to_each_point_once(swept, size):
    """Enqueued parameters come back as the points, in order; and any sampler stays within them."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for parameters in grid_parameters(swept):
        study.enqueue_trial(parameters)
    points = space.points(swept)
    assert [suggest(study.ask(), swept) for _ in points] == points
    assert all(suggest(study.ask(), swept) in points for _ in range(10))


@pytest.mark.parametrize("swept", [*(swept for swept, _ in SPACES.values()), space.product(RATE, B)])
def test_json_and_back(swept):
    assert space_from_json(space_to_json(swept)) == swept


def test_a_branch_has_ranges_of_its_own():
    """The same name in two branches is two parameters: each keeps to its range, and a sampler sees both."""
    tied = space.chain(
        space.product(space.grid("optimizer.name", "adamw"), space.uniform("optimizer.decay", 0, 1)),
        space.product(space.grid("optimizer.name", "lion"), space.uniform("optimizer.decay", 2, 3)),
    )
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3))
    seen = set()
    for _ in range(20):
        trial = study.ask()
        point = suggest(trial, tied)
        seen.add(point["optimizer.name"])
        assert (point["optimizer.decay"] > 1.5) == (point["optimizer.name"] == "lion")
        study.tell(trial, point["optimizer.decay"])
    assert seen == {"adamw", "lion"}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: space.product(A, A), "set in two"),
        (lambda: space.zip(A, B), "equal size, not 3, 2"),
        (lambda: space.zip(A, RATE), "expected points"),
        (lambda: space.chain(), "one space or more"),
        (lambda: space.grid("model.depth"), "one or more distinct values"),
        (lambda: space.grid("model.depth", 1, 1), "one or more distinct values"),
        (lambda: space.uniform("optimizer.decay", 1, 0), "LOW below HIGH"),
        (lambda: space.log_uniform("optimizer.decay", 0, 1), "above 0"),
        (lambda: space.integer("run.seed", 0, 5, 2), "step that leads"),
        (lambda: space.points(RATE), "expected points"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(UsageError, match=message):
        make()


BASE = experiments.get("gpt2_tiny")


@pytest.mark.parametrize(
    "text, axis",
    [
        ("optimizer.rate.peak=log:1e-4..1e-2", RATE),
        ("optimizer.decay=0..0.1", space.uniform("optimizer.decay", 0, 0.1)),
        ("optimizer.decay=uniform:0..0.1", space.uniform("optimizer.decay", 0, 0.1)),
        ("optimizer.name=adamw, lion", B),
        ("run.seed=int:0..8:4", space.integer("run.seed", 0, 8, 4)),
        ("model.width=logint:8..64", space.integer("model.width", 8, 64, log=True)),
        ("optimizer.clip=none,1", space.grid("optimizer.clip", None, 1.0)),
    ],
)
def test_what_is_typed(text, axis):
    assert parse_axis(BASE, text) == axis
    if "none" not in text and ", " not in text and "uniform" not in format_space(axis):
        assert parse_axis(BASE, format_space(axis)) == axis


@pytest.mark.parametrize(
    "text, message",
    [
        ("optimizer.rate.peek=log:1e-4..1", "did you mean optimizer.rate.peak"),
        ("optimizer.name=adamw,lyon", "did you mean lion"),
        ("optimizer.rate.peak", "KEY=SPEC"),
        ("optimizer.rate.peak=lg:1..2", "no such kind of range"),
        ("optimizer.rate.peak=log:a..2", "expected a number"),
        ("data.batch=1..9", "expected integers"),
        ("optimizer.rate.peak=log:1..2:3", "a step goes with int"),
    ],
)
def test_what_is_mistyped(text, message):
    with pytest.raises(UsageError, match=message):
        validate_sweep(Sweep(base=BASE, space=parse_space(BASE, [text]), trials=3))


@pytest.mark.parametrize("name", experiments.sweep_names())
def test_every_declared_sweep_is_whole(name, tmp_path):
    """Its points are experiments, its record leads back to it, and its study can be made."""
    sweep = validate_sweep(experiments.get_sweep(name))
    assert experiments.describe(name) and sweep.name == name
    assert sweep_from_json(sweep_to_json(sweep)) == sweep
    if sweep.chosen_sampler == "grid":
        assert sweep.budget == len({override(sweep.base, point) for point in space.points(sweep.space)})
    else:
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
        override(sweep.base, suggest(trial, sweep.space))


def test_a_point_that_is_no_experiment_is_met_at_the_door():
    """96 goes with 3 heads and not with 4: of a grid all points are looked at, tied ones as they are."""
    widths, heads = space.grid("model.width", 96, 128), space.grid("model.heads", 3, 4)
    assert validate_sweep(Sweep(base=BASE, space=space.zip(widths, heads))).budget == 2
    with pytest.raises(UsageError, match=r"divisor of model\.width"):
        validate_sweep(Sweep(base=BASE, space=space.product(widths, heads)))


def test_auto_is_a_grid_where_all_is_listed():
    assert Sweep(base=BASE, space=space.product(A, B)).chosen_sampler == "grid"
    assert Sweep(base=BASE, space=space.product(A, RATE), trials=3).chosen_sampler == "tpe"
    assert Sweep(base=BASE, space=space.choice("run.seed", 1, 2), trials=3).chosen_sampler == "tpe"
    with pytest.raises(UsageError, match="never ends"):
        Sweep(base=BASE, space=RATE)
    with pytest.raises(UsageError, match="evaluate_every"):
        Sweep(base=override(BASE, {"run.evaluate_every": 300}), space=A, pruner="asha")
