"""The training step, a pure function; `research.devices.compilers` jits, shards or pmaps it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from research.config import Experiment, Model
from research.config.names import OPTIMIZERS, SCHEDULES
from research.config.sections.lora import LoRA
from research.models.axes import data_shards, over_shards
from research.models.ops.dropout import chosen_generator, input_rate, part_of_rows
from research.models.platform import differentiated_again, platform
from research.models.transformer import Frozen, frozen_blocks
from research.objectives import objective_of, training_loss, weights_in
from research.objectives.objective import Batch, Sums
from research.optimizers import loss_scale
from research.optimizers.optimizer import optimizer
from research.optimizers.spike_guard import also_finite, should_apply
from research.optimizers.trained import ALL, Trained, trained
from research.runs.checkpoints.former_names import in_former_order
from research.runs.state import State
from research.runs.traced_numbers import fill

Kept = tuple[Any, Any, Any]  # parameters that train, moments, average


def step_of(experiment: Experiment) -> Callable[..., tuple[State, Sums]]:
    """The experiment's `train_step`: (state, batch) → (state, sums). Hyperparameters may be in the state."""
    if experiment.run.hyperparameters == "constants":
        return partial(train_step, **_settings(experiment))

    def step(state: State, batch: Batch, **named: Any) -> tuple[State, Sums]:
        settings, values = _settings(fill(experiment, state.hyperparameters)), state.hyperparameters or {}

        def loss(*arguments: Any) -> Sums:
            with input_rate.being(values.get("model.dropout")):
                return settings["loss"](*arguments)

        return train_step(state, batch, **settings | {"loss": loss}, **named)

    return step


def _settings(experiment: Experiment) -> dict[str, Any]:
    return {
        "loss": training_loss(experiment.objective),
        "optimizer": optimizer(experiment.optimizer, experiment.run.steps, experiment.model),
        "accumulate": experiment.parallel.parts,
        "by_shard": drops_by_row(experiment.model),
        "reads_step": objective_of(experiment.objective).reads_step,
        "limit": experiment.run.skip_spikes,
        "ema": experiment.optimizer.ema,
        "trained": trained(experiment.optimizer.freeze, experiment.model),
        "measure_update": not (
            OPTIMIZERS.is_builtin(experiment.optimizer.name)
            and SCHEDULES.is_builtin(experiment.optimizer.rate.name)
        ),
    }


def drops_by_row(model: Model) -> bool:
    """Whether shards that compute their rows separately draw the same dropout as all rows together.

    The hash numbers rows; JAX's generator, which task heads also use, and dropout of tables do not.
    """
    numbered = chosen_generator(model.dropout_generator) == "hash" and model.head == "pretraining"
    factors = model.own.block.dropout if isinstance(model.own.block, LoRA) else 0
    return (model.dropout == 0 and factors == 0) or (numbered and not model.table_dropout)


def read_by_loss(state: State, reads_step: bool) -> dict[str, Any]:
    """The parts of a state, or of its shapes, that the loss finds in its batch."""
    teacher = {} if state.teacher is None else {"teacher": state.teacher}
    return teacher | ({"step": state.step} if reads_step else {})


def train_step(
    state: State,
    batch: Batch,
    *,
    loss: Callable[[Any, Batch, Array], Sums],
    optimizer: optax.GradientTransformationExtraArgs,
    accumulate: int = 1,
    by_shard: bool = False,
    reads_step: bool = False,
    limit: float = 0.0,
    ema: float | None = None,
    trained: Trained = ALL,
    measure_update: bool = False,
    axis: str | None = None,
) -> tuple[State, Sums]:
    """One update: the next state, and the objective's sums, gradient norm and number of skipped updates.

    With `measure_update`, the step also returns the update's norm and skips an update that is not finite. The
    built-in optimizers turn a finite gradient into a finite update; others may not.

    Weights are divided by their sum over all devices before the loss: a mean of per-device means would weigh
    a target by how many others its device has. Gradients then add up over microbatches and over a pmapped
    `axis`; `by_shard` is as in `add_up`. The gradient, its norm and the update are of the part of the model
    that is `trained`. The loss finds the teacher in its batch and, with `reads_step`, the step's number. In
    float16 gradients are those of the loss times `state.loss_scale`.
    """
    key = jax.random.fold_in(state.key, state.step)
    if axis is not None:
        key = jax.random.fold_in(key, lax.axis_index(axis))
    parts, before = split(normalized(batch, axis), accumulate), trained.select(state.model)

    def sums_of(params: Any, part: Batch, index: Array) -> tuple[Array, Sums]:
        model = trained.combine(state.model, params)
        part = part | read
        with frozen_blocks.being(Frozen(trained.frozen_blocks(model), state.model, model)):
            sums = loss(model, part, jax.random.fold_in(key, index))
        return sums["loss"] if scale is None else scale * sums["loss"], sums

    read = read_by_loss(state, reads_step)
    scale = None if state.loss_scale is None else state.loss_scale.scale
    grads, sums = add_up(jax.grad(sums_of, has_aux=True), before, parts, by_shard)
    if axis is not None:
        grads, sums = lax.psum((grads, sums), axis)
    if scale is not None:
        grads = jax.tree.map(lambda grad: grad / scale, grads)
    norm = optax.tree.norm(in_former_order(grads))
    sound, guard = should_apply(state.guard, state.step, sums["loss"], norm, limit)

    def update() -> Kept:
        with differentiated_again.being(True):
            updates, opt_state = optimizer.update(
                grads,
                state.opt_state,
                before,
                norm=norm,
                value=sums["loss"],
                obj_fn=of_parts(sums_of, parts),
            )
        params = optax.apply_updates(before, updates)
        ema_params = None if ema is None else optax.tree.update_moment(params, state.ema_params, ema, 1)
        return params, opt_state, ema_params

    sums |= {"gradient_norm": norm}
    if measure_update:
        made = update()
        sums["update_norm"] = optax.tree.norm(optax.tree.sub(made[0], before))
        sound, guard = also_finite(sound, guard, state.step, sums["update_norm"])
        update = lambda: made  # noqa: E731
    params, opt_state, ema_params = if_sound(sound, update, (before, state.opt_state, state.ema_params))
    model = trained.merge(state.model, params)
    following = None
    if state.loss_scale is not None:
        following = loss_scale.following(state.loss_scale, jnp.isfinite(norm))
        sums["loss_scale"] = state.loss_scale.scale
    kept = following, state.hyperparameters, state.teacher
    state = State(state.step + 1, model, opt_state, ema_params, guard, state.key, *kept)
    return state, sums | {"skipped": guard.skipped}


def of_parts(loss: Callable, parts: Batch) -> Callable[[Any], Array]:
    """The loss of a model on all parts; its gradient, too, is differentiated part by part."""

    @jax.custom_vjp
    def total(model: Any) -> Array:
        return add_up(loss, model, parts)[0]

    def forward(model: Any) -> tuple[Array, Any]:
        grads, sums = add_up(jax.grad(loss, has_aux=True), model, parts)
        return sums["loss"], grads

    total.defvjp(forward, lambda grads, g: (jax.tree.map(lambda x: g * x, grads),))
    return total


def if_sound(sound: Array, update: Callable[[], Kept], kept: Kept) -> Kept:
    """The result of `update` if the step is `sound`, otherwise `kept`.

    On a CPU this is a branch: a selection would copy every moment before overwriting it, which takes longer
    than the update. Elsewhere it is a selection, which adds one operand to the update's loops.
    """
    if platform() == "cpu":
        return lax.cond(sound, update, lambda: kept)
    return jax.tree.map(lambda new, old: jnp.where(sound, new, old), update(), kept)


def normalized(batch: Batch, axis: str | None) -> Batch:
    """Divides each array of weights by its sum over the whole batch, on all devices."""

    def share(weights: Array) -> Array:
        total = weights.sum() if axis is None else lax.psum(weights.sum(), axis)
        return weights / jnp.maximum(total, 1e-9)  # a batch without targets has no gradient

    return batch | {name: share(batch[name]) for name in weights_in(batch)}


def split(batch: Batch, parts: int) -> Batch:
    """Reshapes rows (B, …) to (parts, B / parts, …); every part has rows of every device."""
    return jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)


def add_up(function: Callable, model: Any, parts: Batch, by_shard: bool = False) -> Any:
    """Sums function(model, part, index) over the parts, sequentially.

    With `by_shard`, if a mesh splits the rows, each data-parallel shard sums its own parts and the shards are
    summed once; otherwise the gradients of every part are sent. A single part is sent once in any case,
    except for a table used twice; separate shards would cost a TPU more than that.
    """
    indices = jnp.arange(len(jax.tree.leaves(parts)[0]))
    if len(indices) == 1:
        return function(model, jax.tree.map(lambda x: x[0], parts), indices[0])
    shards = data_shards() if by_shard else 1
    if shards == 1:
        return _scanned(function, model, parts, indices)
    totals = _scanned(partial(_by_shard, function, shards), model, parts, indices)
    return jax.tree.map(lambda x: x.sum(0), totals)


def _by_shard(function: Callable, shards: int, model: Any, part: Batch, index: Array) -> Any:
    """The results of all shards, on a leading axis."""

    def of_shard(rows: Batch, shard: Array) -> Any:
        with part_of_rows.being(shard.astype(jnp.uint32)):
            return function(model, rows, index)

    dealt = jax.tree.map(lambda x: x.reshape(shards, -1, *x.shape[1:]), part)
    return over_shards(of_shard, dealt, jnp.arange(shards))


def _scanned(function: Callable, model: Any, parts: Batch, indices: Array) -> Any:
    def add(total, part_and_index):
        return jax.tree.map(jnp.add, total, function(model, *part_and_index)), None

    # Not of the model: JAX would compare its settings with those of other models, and inputs refuse that.
    shapes = jax.eval_shape(partial(function, model), jax.tree.map(lambda x: x[0], parts), indices[0])
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return lax.scan(add, zeros, (parts, indices))[0]
