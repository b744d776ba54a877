"""YAML bodies: the values of JSON, without the forms that are expensive."""

from typing import Any

import pytest
import yaml

from kubeling.apiserver import yaml_body
from kubeling.apiserver.status import StatusError


@pytest.mark.parametrize(
    "text",
    [
        *("a", "1", "0", "-0", "0x1F", "-0x1F", "0b11", "0644", "1_000", "007", "08", "0o7", "1.5"),
        *("1.", "1e3", "1.0e+3", ".5", "1.2.3", "0b", "0x", "_1", "+1", "-1", "1__0", "- a"),
        *("yes", "No", "ON", "y", "n", "null", "~", "Null", "nULL", "", "true", "TRUE", "tRUE"),
        *("'1'", '"no"', "!!str 1", "!!int 5", "!!float 1.5", "!!bool yes", "! 1", "&a b"),
        *("[1, 2]", "{a: 1}", "a: {b: [c, {d: e}]}", "a: |\n  x\n  y\n", "a: >\n  x\n  y\n"),
        *("# only a comment", "---\na: 1\n...\n", "? a\n: b", "a:\n- b\n-\n", '"a\\n\\u00e9": 1'),
    ],
)
def test_yaml_values_equal_those_of_pyyaml(text: str) -> None:
    expected = yaml.safe_load(text)
    found = yaml_body.parse(text.encode())
    assert (found, repr(found)) == (expected, repr(expected))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:20", "1:20"),
        ("1:20:30.5", "1:20:30.5"),
        ("1" + ":1" * 1000, "1" + ":1" * 1000),
        ("2020-01-01", "2020-01-01"),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
        ("=", "="),
        ("-.5", -0.5),
    ],
)
def test_yaml_scalar_without_a_json_form_is_a_string(text: str, value: Any) -> None:
    """Fails if a number in base 60 is computed, or a merge key is searched."""
    assert yaml_body.parse(text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "!!int 1:20",
        "!!float 1:20.5",
        "!!set {a}",
        "!!omap [a: 1]",
        "!!binary YQ==",
        "!!timestamp 2020-01-01",
        "!!merge {a: 1}",
        "!!python/object:os.system x",
        "? [a]\n: b",
        "1: b",
        "null: b",
        "a: 1\n---\nb: 2",
        "a: [",
        "a: 'b",
        "9" * 5000,
    ],
)
def test_unsupported_yaml_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        yaml_body.parse(text.encode())


@pytest.mark.parametrize("text", ["[" * 300, "? " * 300, "{a: " * 300])
def test_deeply_nested_document_is_refused_at_the_limit(text: str) -> None:
    """Fails if the library continues: it checks each open bracket for each value."""
    with pytest.raises((StatusError, ValueError)):
        yaml_body.parse(text.encode() + b"a, " * 1000)
