"""A string value stays a string: it cannot add keys, and does not become a number or a boolean."""

import copy
import functools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path as Folder
from typing import Any

import pytest

from tests.charts.authority.rendering import CHART as AUTHORITY
from tests.charts.authority.rendering import EVERYTHING, ORIGIN
from tests.charts.authority.rendering import TENANT as ITS_TENANT
from tests.charts.many_releases import ManyReleases
from tests.charts.rendering import (
    CERT_MANAGER,
    FOREIGN,
    OF_THE_REFERENCE,
    SETS,
    Helm,
    Object,
    Values,
)
from tests.charts.schema import ChartFiles

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import emits deprecation warnings
    import kubernetes_validate.utils

# Each validation would parse a schema and all definitions again.
kubernetes_validate.utils.schema_contents = functools.cache(
    kubernetes_validate.utils.schema_contents
)

# Hundreds of releases are rendered, which takes minutes on a busy machine.
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1200)]

# A line break with fields of a pod's spec, as they are next to `containers` in a Deployment.
MORE = "a\n      hostNetwork: true\n      hostPID: true"
# Valid names that YAML parses as another type.
OTHERS = ("123", "null")
Path = tuple[str | int, ...]
# Sets of values that together give every value an effect.
_MORE = SETS["all that is more"]
_WEBHOOK = [
    {**OF_THE_REFERENCE, **{key: _MORE[key] for key in _MORE.keys() - OF_THE_REFERENCE.keys()}},
    {"disableCertRotation": True, "certSecretName": "mine"},
    {**CERT_MANAGER, "serviceMonitor": {"enabled": True}},
    SETS["a bundle by label"],
    {"customTokenEndpoint": {"azureKubernetesCaData": "x"}},
]


def _texts(schema: dict[str, Any], *path: str | int) -> Iterator[Path]:
    """Yield the path of each string; `+` is a free key, and `x` a member of a Kubernetes type."""
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


def _set_text(values: Values, path: Path, text: str) -> Values:
    """Set a text at a path; at a free key, the text is both key and value."""
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


def _depth(values: Any, path: Path) -> int:
    """Return how many parts of a path the values have."""
    if isinstance(values, dict) and path and path[0] in values:
        return 1 + _depth(values[path[0]], path[1:])
    return 0


def _rendered(helm: Helm, folder: Folder, text: str) -> Iterator[tuple[str, list[Object] | None]]:
    """Render both charts with a text at every path; yield None for objects if it is refused."""
    for chart, sets in _charts(helm):
        places = list(dict.fromkeys(_texts(ChartFiles(chart.chart, ()).schema)))
        assert len(places) > 60
        # Values can exclude each other, so a text is set where the set has that value.
        bases = [max(sets, key=lambda one: _depth(one, path)) for path in places]
        changed = [_set_text(base, path, text) for base, path in zip(bases, places, strict=True)]
        done = ManyReleases(chart, folder / chart.chart.name).render(changed)
        # Refused by the schema: a set that excludes the value for another reason would check nothing.
        assert not [one.error for one in done if "execution error" in one.error]
        for path, one in zip(places, done, strict=True):
            yield f"{chart.chart.name}: {'.'.join(str(part) for part in path)}", one.objects


def test_line_break_in_a_value_adds_no_field(helm: Helm, tmp_path: Folder) -> None:
    """A user who may set one value, such as a priority class, must not be able to set others by it."""
    taken = set()
    for where, objects in _rendered(helm, tmp_path, MORE):
        if objects is not None:
            taken.add(where)
            keys = {key for one in objects for key in _keys(one)}
            assert not {"hostNetwork", "hostPID"} & keys - _host_settings(where), where
    assert {"podpass: podAnnotations.+", "podpass-authority: podAnnotations.+"} <= taken
    for name in ("priorityClassName", "image.repository"):
        assert not {f"podpass: {name}", f"podpass-authority: {name}"} & taken


def _host_settings(where: str) -> set[str]:
    """Return the host settings that the set itself has: the webhook's set uses the host network."""
    return {"hostNetwork"} if where.startswith("podpass:") else set()


@pytest.mark.parametrize("text", OTHERS)
def test_string_that_looks_like_a_number_or_boolean_stays_a_string(
    helm: Helm, tmp_path: Folder, text: str
) -> None:
    seen: set[str] = set()
    for where, objects in _rendered(helm, tmp_path, text):
        for one in objects or ():
            written = json.dumps(one)
            if one["kind"] not in FOREIGN and written not in seen:
                seen.add(written)
                try:
                    kubernetes_validate.validate(one, "1.37", strict=False)
                except kubernetes_validate.ValidationError as exc:
                    # A string in place of an object is rendered as that string.
                    other = "is not of type" in exc.message and not exc.message.startswith("'")
                    assert not other, f"{where}: {exc.message}"
    assert len(seen) > 60


def test_namespace_with_a_numeric_name_stays_a_string_in_every_object(helm: Helm) -> None:
    for chart, sets in _charts(helm):
        for one in chart.render(sets[0], namespace="123"):
            assert one["metadata"].get("namespace", "123") in ("123", "shop")  # the test's pod
            if one["kind"] not in FOREIGN:
                kubernetes_validate.validate(one, "1.37")
