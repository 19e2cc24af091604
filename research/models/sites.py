"""Named sites of a forward pass: arrays that can be read and changed while a model runs.

Model code passes an array that people study through `site`. By itself, this returns it as it is and compiles
to nothing. Within `observed`, blocks run one after the other instead of in a compiled loop, and attention is
computed by XLA, so that each array exists. Its name is then that of the site within its block, such as
`blocks/3/mlp/output`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
from jax import Array
from jax.extend.core import get_opaque_trace_state

from research.errors import UsageError, did_you_mean
from research.scoped import Scoped

Edit = Callable[[Array], Array] | Array  # a function of the array, or another array for it
Edits = tuple[tuple[str, Edit], ...]  # by names, or patterns of names
T = TypeVar("T")


class _Observer(NamedTuple):
    edits: Edits
    read: tuple[str, ...]  # names or patterns
    trace: Any  # the transformation that it was made in
    found: dict[str, Array]  # what was read
    seen: dict[str, None]  # names of all sites, in order
    prefix: str = ""


_observer = Scoped[_Observer | None]("observer", None)


def site(name: str, x: Array) -> Array:
    """`x`, or what edits make of it. A name that comes again, as when a block attends twice, ends in `_2`."""
    observer = _observer.get()
    if observer is None:
        return x
    name = observer.prefix + name
    times = 1 + sum(seen == name or seen.startswith(f"{name}_") for seen in observer.seen)
    name = name if times == 1 else f"{name}_{times}"
    observer.seen[name] = None
    for pattern, edit in observer.edits:
        if fnmatchcase(name, pattern):
            x = _edited(name, x, edit)
    # Values of a transformation within the model, such as vmap, cannot leave it.
    if any(fnmatchcase(name, pattern) for pattern in observer.read) and observer.trace == _trace():
        observer.found[name] = x
    return x


def is_observed() -> bool:
    return _observer.get() is not None


def observed(
    function: Callable[..., T], read: Sequence[str] = (), edits: Mapping[str, Edit] | None = None
) -> Callable[..., tuple[T, dict[str, Array]]]:
    """`function`, which runs a model, with sites read and edited: (…) → (its result, {name: array}).

    `read` and the keys of `edits` are names or patterns, such as `blocks/*/mlp/output`. What is read is
    edited already. The result can be transformed by `jax.jit`, `jax.grad` and `jax.vmap`; the call raises
    UsageError for a name that no site has.
    """

    @wraps(function)
    def call(*args: Any, **options: Any) -> tuple[T, dict[str, Array]]:
        outer, changes = _observer.get(), tuple((edits or {}).items())
        after = () if outer is None else outer.edits
        observer = _Observer(changes + after, tuple(read), _trace(), {}, {})
        with _observer.being(observer):
            result = function(*args, **options)
        check([*read, *(edits or {})], observer.seen)
        for pattern in read:
            if not any(fnmatchcase(name, pattern) for name in observer.found):
                raise UsageError(f"{pattern}: within a transformation, such as vmap, and cannot be read")
        return result, observer.found

    return call


def with_edits(method: Callable[..., T]) -> Callable[..., T]:
    """A method of a model that applies the model's own `edits`."""

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> T:
        if not self.edits:
            return method(self, *args, **options)
        outer = _observer.get() or _Observer((), (), _trace(), {}, {})
        with _observer.being(outer._replace(edits=self.edits + outer.edits)):
            return method(self, *args, **options)

    return call


def inside(prefix: str) -> AbstractContextManager:
    """Names of the sites within begin with `prefix`."""
    observer = _observer.get()
    return _observer.being(observer and observer._replace(prefix=observer.prefix + prefix))


def check(patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raises UsageError for a pattern that no name matches."""
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = [name for name in names if not name.startswith("blocks/") or name.startswith("blocks/0/")]
            raise UsageError(f"{pattern}: no such site of this model{did_you_mean(pattern, some)}")


def _trace() -> Any:
    return get_opaque_trace_state(convention="flax")


def _edited(name: str, x: Array, edit: Edit) -> Array:
    y = jnp.asarray(edit(x) if callable(edit) else edit)
    if y.shape != x.shape:
        raise UsageError(f"{name}: the edit has shape {y.shape}; expected {x.shape}")
    return y.astype(x.dtype)
