"""The JSONPath of printer columns."""

from typing import Any

import pytest

from kubeling.apiserver.customresources import json_path

OBJECT = {
    "metadata": {"labels": {"example.com/a": "label"}},
    "spec": {
        "name": "n",
        "zero": 0,
        "steps": [{"name": "x", "run": 1}, {"name": "y", "run": 2, "on": True}],
        "by": {"b": 2, "a": 1},
    },
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".spec.name", "n"),
        (".spec.zero", 0),
        (".spec.steps[0].name", "x"),
        (".spec.steps[-1].name", "y"),
        (".spec.steps[*].name", "x"),
        (".spec.by.*", 1),
        ('.spec.steps[?(@.name=="y")].run', 2),
        (".spec.steps[?(@.name=='y')].run", 2),
        (".spec.steps[?(@.run==2)].name", "y"),
        ('.spec.steps[?(@.name!="x")].name', "y"),
        (".spec.steps[?(@.on==true)].name", "y"),
        (r".metadata.labels.example\.com/a", "label"),
        (".metadata.labels['example.com/a']", "label"),
        (".spec.none", None),
        (".spec.name.none", None),
        (".spec.steps[9]", None),
        (".spec.steps[?(@.name=='z')].run", None),
        (".spec.name[0]", None),
    ],
)
def test_path_finds_the_first_value(path: str, value: Any) -> None:
    assert json_path.find(json_path.parse(path), OBJECT) == value


@pytest.mark.parametrize("path", ["spec", ".spec[", ".a[?(@.b>1)]", ".a[?(@.b==c)]", "..", ".a."])
def test_path_that_cannot_be_read_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match=r"cannot read|is not a text"):
        json_path.parse(path)
