"""A flag that was written as one."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Boolean, Dialect
from sqlalchemy.types import TypeDecorator

_KEPT_AS = {0: False, 1: True}


class Flag(TypeDecorator[bool]):
    """A column of true or false.

    SQLite keeps a number, or whatever somebody else wrote; that is given as it stands, for `check_types` to
    refuse: as a truth value, `'false'` would be true.
    """

    impl = Boolean
    cache_ok = True

    @property
    def python_type(self) -> type[bool]:
        return bool

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        del dialect, coltype
        return lambda value: _KEPT_AS.get(value, value)
