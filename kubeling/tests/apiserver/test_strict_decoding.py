"""The walk that finds repeated keys: linear in the body, and bounded in its messages."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from kubeling.apiserver import strict_decoding
from kubeling.apiserver.strict_decoding import MAX_PROBLEMS, DuplicateKeys, problems


def parse(text: str) -> tuple[Any, DuplicateKeys]:
    duplicates = DuplicateKeys()
    return json.loads(text, object_pairs_hook=duplicates.collect), duplicates


def test_key_that_is_repeated_often_is_one_problem() -> None:
    assert problems(*parse('{"a": {' + '"k": 1,' * 1000 + '"k": 1}}')) == ['duplicate field "a.k"']


def test_number_of_problems_and_length_of_paths_are_bounded() -> None:
    key = "k" * 5000
    keys = ",".join(f'"{at}": 1, "{at}": 2' for at in range(MAX_PROBLEMS + 50))
    found = problems(*parse(f'{{"{key}": {{{keys}}}}}'))
    assert len(found) == MAX_PROBLEMS
    assert max(map(len, found)) < 1100


def test_deep_body_is_walked_without_recursion() -> None:
    value, duplicates = parse('{"k": 1, "k": 2}')
    for _ in range(100_000):
        value = {"a": value}
    (found,) = problems(value, duplicates)
    assert found.startswith('duplicate field "a.a.a')


def test_path_is_built_only_for_a_reported_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a path is built for each key: below long keys that takes quadratic time."""
    calls: list[Sequence[str]] = []
    path = strict_decoding._path

    def counted(parts: Sequence[str]) -> str:
        calls.append(parts)
        return path(parts)

    monkeypatch.setattr(strict_decoding, "_path", counted)
    keys = ",".join(f'"{at}": {{"x": 1}}' for at in range(1000))
    assert problems(*parse(f'{{"a": {{{keys}}}, "a": 1, "b": [1, {{"k": 1, "k": 1}}]}}')) == [
        'duplicate field "a"',
        'duplicate field "b[1].k"',
    ]
    assert len(calls) == 2
