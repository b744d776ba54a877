"""A text of the values stays one text: it becomes no other key, no number and no truth."""

import copy
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.charts.authority.rendering import CHART as AUTHORITY
from tests.charts.authority.rendering import EVERYTHING, ORIGIN
from tests.charts.authority.rendering import TENANT as ITS_TENANT
from tests.charts.rendering import (
    CERT_MANAGER,
    FOREIGN,
    OF_THE_REFERENCE,
    SETS,
    Helm,
    Object,
    Values,
)
from tests.charts.schema import Files

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of its own dependencies
    import kubernetes_validate

pytestmark = pytest.mark.kubernetes

# What stands beside a pod's containers in a Deployment, and so in its template.
MORE = "a\n      hostNetwork: true\n      hostPID: true"
# Texts that a name may be, and that YAML reads as something else.
OTHERS = ("123", "null")
Path = tuple[str | int, ...]
# Sets in which values have an effect, each where the others let it.
_MORE = SETS["all that is more"]
_WEBHOOK = [
    {**OF_THE_REFERENCE, **{key: _MORE[key] for key in _MORE.keys() - OF_THE_REFERENCE.keys()}},
    {"disableCertRotation": True, "certSecretName": "mine"},
    {**CERT_MANAGER, "serviceMonitor": {"enabled": True}},
    SETS["a bundle by label"],
    {"customTokenEndpoint": {"azureKubernetesCaData": "x"}},
]


def _texts(schema: dict[str, Any], *path: str | int) -> Iterator[Path]:
    """Name each place of a text; a key of one's own is `+`, what is Kubernetes' own has `x` in it."""
    kinds = schema.get("type", "")
    if "string" in kinds or "enum" in schema:
        yield path
    for choice in schema.get("anyOf", ()):
        yield from _texts(choice, *path)
    for key, one in schema.get("properties", {}).items():
        yield from _texts(one, *path, key)
    if "array" in kinds:
        yield from _texts(schema.get("items", {"type": "object"}), *path, 0)
    if kinds == "object" and "properties" not in schema:
        free = schema.get("additionalProperties")
        yield from _texts(free, *path, "+") if free else [(*path, "x")]
        yield (*path, "+")


def _with(values: Values, path: Path, text: str) -> Values:
    """Put a text in a place; where the place is a key, as that and as its value."""
    changed: Any = copy.deepcopy(values)
    place = changed
    for part, after in zip(path, [*path[1:], None], strict=True):
        part = text if part == "+" else part
        new: Any = text if after is None else [] if after == 0 else {}
        if isinstance(place, list):
            place[:] = place[:1] or [new]
        else:
            place.setdefault(part, new)
        if after is None or not isinstance(place[part], type(new)):
            place[part] = new
        place = place[part]
    return dict(changed)


def _keys(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from tree
        for one in tree.values():
            yield from _keys(one)
    if isinstance(tree, list):
        for one in tree:
            yield from _keys(one)


def _charts(helm: Helm) -> list[tuple[Helm, list[Values]]]:
    required = {"origin": ORIGIN, "tenantID": ITS_TENANT}
    own = Helm(helm.binary, AUTHORITY, "podpass-authority", "podpass", required)
    return [(helm, _WEBHOOK), (own, [EVERYTHING])]


def _rendered(helm: Helm, text: str) -> Iterator[tuple[str, list[Object] | None]]:
    """Put a text into every place of both charts; nothing comes of it where it is refused."""
    for chart, sets in _charts(helm):
        places = dict.fromkeys(_texts(Files(chart.chart, ()).schema))
        assert len(places) > 60
        for path in places:
            where = f"{chart.chart.name}: {'.'.join(str(part) for part in path)}"
            having = [one for one in sets if path[0] in one]
            for base in having or sets:
                done = chart.template(_with(base, path, text))
                if "execution error" not in done.stderr:  # values that exclude each other
                    break
            if done.returncode:
                refused = "don't meet the specifications" in done.stderr
                assert refused or "execution error" in done.stderr, (where, done.stderr)
                yield where, None
            else:
                yield where, [one for one in yaml.safe_load_all(done.stdout) if one]


def test_a_line_break_in_a_value_adds_nothing_to_what_is_rendered(helm: Helm) -> None:
    """Who may choose a pod's priority may not choose the node's network by it."""
    taken = set()
    for where, objects in _rendered(helm, MORE):
        if objects is not None:
            taken.add(where)
            keys = {key for one in objects for key in _keys(one)}
            assert not {"hostNetwork", "hostPID"} & keys - _own(where), where
    assert {"podpass: podAnnotations.+", "podpass-authority: podAnnotations.+"} <= taken
    for name in ("priorityClassName", "image.repository"):
        assert not {f"podpass: {name}", f"podpass-authority: {name}"} & taken


def _own(where: str) -> set[str]:
    """Say what the set itself asks for: the webhook's does for the nodes' network."""
    return {"hostNetwork"} if where.startswith("podpass:") else set()


@pytest.mark.parametrize("text", OTHERS)
def test_a_text_that_looks_like_a_number_or_a_truth_is_a_text(helm: Helm, text: str) -> None:
    seen: set[str] = set()
    for where, objects in _rendered(helm, text):
        for one in objects or ():
            written = json.dumps(one)
            if one["kind"] not in FOREIGN and written not in seen:
                seen.add(written)
                try:
                    kubernetes_validate.validate(one, "1.37", strict=False)
                except kubernetes_validate.ValidationError as exc:
                    # A text where an object belongs is still the text.
                    other = "is not of type" in exc.message and not exc.message.startswith("'")
                    assert not other, f"{where}: {exc.message}"
    assert len(seen) > 60


def test_a_namespace_called_by_a_number_is_called_so_in_every_object(helm: Helm) -> None:
    for chart, sets in _charts(helm):
        for one in chart.render(sets[0], namespace="123"):
            assert one["metadata"].get("namespace", "123") in ("123", "shop")  # the test's pod
            if one["kind"] not in FOREIGN:
                kubernetes_validate.validate(one, "1.37")
