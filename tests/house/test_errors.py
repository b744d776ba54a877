"""Errors have one root class and unique codes, and the class tree in the docstring is complete."""

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator

import podpass
from podpass import errors


def _import_all() -> None:
    for module in pkgutil.walk_packages(podpass.__path__, "podpass."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _ours(kind: type[BaseException]) -> set[type[BaseException]]:
    _import_all()
    return {each for each in _below(kind) if each.__module__.startswith("podpass")}


def test_every_exception_derives_from_error() -> None:
    """Private exceptions never leave their module, and classes of other libraries keep their root."""
    others = [
        f"{each.__module__}.{each.__name__}"
        for each in _ours(Exception)
        if not issubclass(each, errors.Error) and not each.__name__.startswith("_")
    ]
    assert others == []


def test_error_code_belongs_to_one_class() -> None:
    codes = Counter(vars(each)["code"] for each in _ours(errors.Error) if "code" in vars(each))
    assert len(codes) > 20
    assert [code for code, count in codes.items() if count > 1] == []


def test_error_code_is_a_slug() -> None:
    codes = [str(vars(each)["code"]) for each in _ours(errors.Error) if "code" in vars(each)]
    assert [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9_]*", code)] == []


def test_class_tree_in_the_docstring_is_complete() -> None:
    drawn = set(re.findall(r"^    (?:\+- )?(\w+)  ", errors.__doc__ or "", re.MULTILINE))
    there = {name for name, each in vars(errors).items() if isinstance(each, type)}
    assert drawn == there
    assert drawn - {"Error"} == {each.__name__ for each in errors.Error.__subclasses__()} & there
