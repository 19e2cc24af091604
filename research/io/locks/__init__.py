"""Locks between processes, also of several hosts."""

from research.io.locks.holders import Holder, describe_holder, holder
from research.io.locks.lock import Lock, acquire, exclusive

__all__ = ["Holder", "Lock", "acquire", "describe_holder", "exclusive", "holder"]
