"""Named sites of a forward pass: arrays that can be read and changed while a model runs.

Model code passes an array that people study through `site`. By itself, this returns it as it is and compiles
to nothing. Within `observed`, blocks run one after the other instead of in a compiled loop, and attention is
computed by XLA, so that each array exists. Its name is then that of the site within its block, such as
`blocks/3/mlp/output`. In patterns of names, `*` stays within one part, and `**` stands for any parts.
"""

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import get_opaque_trace_state
from jax.typing import ArrayLike

from research.errors import UsageError, did_you_mean
from research.scoped import Scoped

Edit = Callable[[Array], ArrayLike] | Array  # a function of the array, or another array for it
Edits = tuple[tuple[str, Edit], ...]  # by names, or patterns of names
T = TypeVar("T")


class _Observer(NamedTuple):
    edits: Edits
    read: tuple[str, ...]  # names or patterns
    trace: Any  # the transformation that it was made in
    program: Any  # the compiled function that it was made in, if any
    found: dict[str, Array]  # what was read
    seen: dict[str, None]  # names of all sites, in order; within a forward pass, of its sites
    prefix: str = ""


_observer = Scoped[_Observer | None]("observer", None)


def site(name: str, x: Array) -> Array:
    """`x`, or what edits make of it. A name that comes again, as when a block attends twice, ends in `_2`."""
    observer = _observer.get()
    if observer is None:
        return x
    first = name = observer.prefix + name
    times, within = 1, observer.trace != _trace()
    while name in observer.seen:
        times += 1
        name = f"{first}_{times}"
    observer.seen[name] = None
    for pattern, edit in observer.edits:
        if matches(name, pattern):
            if within and observer.program is not _program():
                # JAX would keep the edited program, also for later calls without this edit.
                raise UsageError(f"{name}: within a compiled function; expected jax.jit around observed")
            x = _edited(name, x, edit)
    # Values of a transformation within the model, such as vmap, cannot leave it.
    if not within and any(matches(name, pattern) for pattern in observer.read):
        if name in observer.found:
            raise UsageError(f"{name}: read in two forward passes; expected one")
        observer.found[name] = x
    return x


def is_observed() -> bool:
    return _observer.get() is not None


def is_changed(model: Any) -> bool:
    """Whether sites are edited or read: then inputs are not padded, since edits may depend on positions."""
    return bool(model.edits) or is_observed()


def observed(
    function: Callable[..., T], read: Sequence[str] = (), edits: Mapping[str, Edit] | None = None
) -> Callable[..., tuple[T, dict[str, Array]]]:
    """`function`, which runs a model, with sites read and edited: (…) → (its result, {name: array}).

    `read` and the keys of `edits` are names or patterns, such as `blocks/*/mlp/output`. What is read is
    edited already. The result can be transformed by `jax.jit`, `jax.grad` and `jax.vmap`. The call raises
    UsageError for a name that no site has, and for a function that `jax.jit` has compiled.
    """

    @wraps(function)
    def call(*args: Any, **options: Any) -> tuple[T, dict[str, Array]]:
        outer, changes = _observer.get(), tuple((edits or {}).items())
        after = () if outer is None else outer.edits
        observer = _Observer(changes + after, tuple(read), _trace(), _program(), {}, {})
        with _observer.being(observer):
            result = function(*args, **options)
        if not observer.seen:
            raise UsageError(
                "observed: no site; if the function is compiled, expected jax.jit around observed"
            )
        check([*read, *(edits or {})], observer.seen)
        for pattern in read:
            if not any(matches(name, pattern) for name in observer.found):
                raise UsageError(f"{pattern}: cannot be read within a transformation, such as vmap or jit")
        return result, observer.found

    return call


def with_edits(method: Callable[..., T]) -> Callable[..., T]:
    """A model's forward pass, with names of its own and the model's own `edits`."""

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> T:
        outer = _observer.get()
        if outer is None:
            if not self.edits:
                return method(self, *args, **options)
            outer = _Observer((), (), _trace(), _program(), {}, {})
        observer = outer._replace(edits=self.edits + outer.edits, seen={})
        with _observer.being(observer):
            result = method(self, *args, **options)
        outer.seen.update(observer.seen)
        return result

    return call


def inside(prefix: str) -> AbstractContextManager:
    """Names of the sites within begin with `prefix`."""
    observer = _observer.get()
    return _observer.being(observer and observer._replace(prefix=observer.prefix + prefix))


def matches(name: str, pattern: str) -> bool:
    """With as many slashes as the pattern, no `*` of it stands for one."""
    return fnmatch.fnmatchcase(name, pattern) and ("**" in pattern or name.count("/") == pattern.count("/"))


def check(patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raises UsageError for a pattern that no name matches."""
    names = list(names)
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            some = [name for name in names if not name.startswith("blocks/") or name.startswith("blocks/0/")]
            wider = f"; did you mean {pattern.replace('*', '**')}?"
            meant = wider if fnmatch.filter(names, pattern) else did_you_mean(pattern, some)
            raise UsageError(f"{pattern}: no such site of this model{meant}")


def _trace() -> Any:
    return get_opaque_trace_state(convention="flax")


def _program() -> Any:
    """Identifies the program that is being traced, by a constant in it; None outside of any."""
    return getattr(lax.full((), 0.0), "_trace", None)


def _edited(name: str, x: Array, edit: Edit) -> Array:
    """`x` edited. Where an edit has 1 for the size of an axis, it is repeated, like a number."""
    y = edit(x) if callable(edit) else edit
    try:
        y = jnp.asarray(y)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: the edit gives {y!r:.40}; expected an array of shape {x.shape}") from None
    if y.ndim and (y.ndim != x.ndim or any(n not in (1, m) for n, m in zip(y.shape, x.shape, strict=True))):
        raise UsageError(f"{name}: the edit has shape {y.shape}; expected {x.shape}")
    return jnp.broadcast_to(y, x.shape).astype(x.dtype)
