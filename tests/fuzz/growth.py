"""Fuzz target for slow inputs: the work of a request grows with its size, not with the square of its size.

An input is a JSON template with a part that repeats, or bytes that choose one (`growth_templates`). The
target makes requests of three sizes from it and counts the operations of the API server: lines, calls and
comparisons of texts, not time. For the sizes n, 2n and 4n, f(4n) - 3 f(2n) + 2 f(n) cancels every constant
and linear part, and leaves six times the quadratic part.

Template:  `["*", x]` is a list of n times x, and a member "*name": x is n members. In these, `#` in a text
           is the index, and `@` the index from the end. A part in another part repeats twice. "text" is
           a body: [start, repeated part, end].
"""

import copy
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from kubeling.apiserver import decoding, response, schema, selectors
from kubeling.apiserver.auth import rbac
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import KINDS, Kind
from kubeling.apiserver.patch import json_patch, server_side_apply
from kubeling.apiserver.read import table
from kubeling.apiserver.validation import validate

from tests.fuzz.growth_templates import build_template

SIZES = (16, 32, 64)
# A step that reaches a limit has another slope, which looks quadratic. Larger sizes show whether it is.
CONFIRMING_SIZES = (64, 128, 256)
# A step that compares each item with half of the others has the value 0.5.
MAX_QUADRATIC = 0.2
# A template takes 20 ms. A run tries this many different ones, then repeats them; another seed tries others.
MAX_TEMPLATES = 300
MAX_TEMPLATE_BYTES, MAX_CHOICES = 1500, 60

_KINDS = {kind.type_name: kind for kind in KINDS}
_SCANS = ("count", "index", "remove")
_seen: set[str] = set()


class CountedText(str):
    """A string whose comparisons are calls, so that each comparison of a search in a list is counted."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __deepcopy__(self, _memo: object) -> "CountedText":
        return self


def expand(template: Any, size: int, at: int = 0) -> Any:
    """Return the value of a template for a size."""
    if isinstance(template, str):
        text = template.replace("#", str(at)).replace("@", str(size - 1 - at))
        return CountedText(text)
    if isinstance(template, list):
        if template[:1] == ["*"]:
            return [_part(each, size, index) for index in range(size) for each in template[1:]]
        return [expand(each, size, at) for each in template]
    if isinstance(template, dict):
        made: dict[str, Any] = {}
        for name, value in template.items():
            if name.startswith("*"):
                for index in range(size):
                    made[str(expand(name[1:], size, index))] = _part(value, size, index)
            else:
                made[str(expand(name, size, at))] = expand(value, size, at)
        return made
    return template


def _part(template: Any, size: int, at: int) -> Any:
    """Return one repetition. A part in it is repeated only twice, so the size of the request is linear."""
    if isinstance(template, list | dict):
        text = json.dumps(template).replace("#", str(at)).replace("@", str(size - 1 - at))
        return expand(json.loads(text), 2)
    return expand(template, size, at)


def count_operations(step: Callable[[], object]) -> int:
    """Count the lines, calls and searches of a step, until an error."""
    counted = 0

    def trace(_frame: Any, _event: str, _arg: Any) -> Any:
        nonlocal counted
        counted += 1
        return trace

    def profile(_frame: Any, event: str, called: Any) -> None:
        nonlocal counted
        if event == "c_call":
            counted += 1
            owner = getattr(called, "__self__", None)
            if type(owner) is list and called.__name__ in _SCANS:
                counted += len(owner)

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        step()
    except Exception:  # noqa: BLE001 other tests check which error; here only the work counts
        pass
    finally:
        sys.setprofile(before[1])
        sys.settrace(before[0])
    return counted


def quadratic_part(
    prepare: Callable[[int], Callable[[], object]], sizes: tuple[int, int, int] = SIZES
) -> float:
    """Return the quadratic part of a step's operations, for each pair of repeated parts."""
    count_operations(prepare(sizes[0]))  # fill the caches
    once, twice, four_times = (count_operations(prepare(size)) for size in sizes)
    return (four_times - 3 * twice + 2 * once) / 6 / sizes[0] ** 2


def _write(kind: Kind, live: Any, _patch: Any) -> None:
    """Run every step of the creation of an object, from its validation to the warnings."""
    schema.check(kind, live)
    obj = schema.prune(kind, live)
    defaults.set_defaults(kind, defaults.prepare_for_create(kind, obj))
    server_side_apply.track_update(kind, None, obj, "m", now=1.0)
    validate.create(kind, obj)
    response.format_warnings(validate.warnings(kind, obj))


def _update(kind: Kind, live: Any, patch: Any) -> None:
    validate.update(kind, patch, live)


def _apply(kind: Kind, live: Any, patch: Any) -> None:
    server_side_apply.apply(kind, live, patch, "m", now=3.0)


def _track(kind: Kind, live: Any, patch: Any) -> None:
    server_side_apply.track_update(kind, live, patch, "m", now=3.0)


def _strategic(kind: Kind, live: Any, patch: Any) -> None:
    json_patch.strategic_patch(kind, live, patch)


def _merge(_kind: Kind, live: Any, patch: Any) -> None:
    json_patch.merge_patch(live, patch)


def _operations(_kind: Kind, live: Any, patch: Any) -> None:
    json_patch.json_patch(live, patch)


def _table(kind: Kind, live: Any, _patch: Any) -> None:
    table.make_table(kind, [live], 1.0)


def _aggregate(_kind: Kind, live: Any, patch: Any) -> None:
    rbac.aggregate_rules(live, patch)


def _selector(_kind: Kind, live: Any, patch: Any) -> None:
    selectors.matches(patch, live)


STEPS: Mapping[str, Callable[[Kind, Any, Any], None]] = {
    "aggregate": _aggregate,
    "apply": _apply,
    "merge": _merge,
    "operations": _operations,
    "selector": _selector,
    "strategic": _strategic,
    "table": _table,
    "track": _track,
    "update": _update,
    "write": _write,
}
MEDIA_TYPES = {"json": "application/json", "yaml": "application/yaml"}


def build_step(template: Mapping[str, Any]) -> Callable[[int], Callable[[], object]] | None:
    """Return what makes the step of a template for a size; None if the template is not valid."""
    name = template.get("step")
    text, media_type = template.get("text"), MEDIA_TYPES.get(str(name))
    if media_type and isinstance(text, list) and len(text) == 3:
        start, part, end = map(str, text)
        return lambda size: (
            lambda: decoding.parse(
                "".join(
                    (start, *(str(expand(part, size, at)) for at in range(size)), end)
                ).encode(),
                media_type,
            )
        )
    kind, step = _KINDS.get(str(template.get("kind"))), STEPS.get(str(name))
    if kind is None or step is None:
        return None

    def prepare(size: int) -> Callable[[], object]:
        live, patch = expand(template.get("live"), size), expand(template.get("patch"), size)
        if name == "apply":  # the live object has a field manager
            live = server_side_apply.apply(kind, None, live, "m", now=2.0)
        live = copy.deepcopy(live)
        return lambda: step(kind, live, patch)

    return prepare


def growth(data: bytes) -> None:
    """Make requests of three sizes from a template: the work has no quadratic part."""
    if len(_seen) > MAX_TEMPLATES:
        return
    template = _read(data) if data.startswith(b"{") else build_template(data[:MAX_CHOICES])
    normal = json.dumps(template, sort_keys=True)
    if normal in _seen or (prepare := build_step(template)) is None:
        return
    _seen.add(normal)
    try:
        part = quadratic_part(prepare)
        if part > MAX_QUADRATIC:
            part = quadratic_part(prepare, CONFIRMING_SIZES)
    except Exception:  # noqa: BLE001 a template that cannot be made for the smallest size
        return
    assert part <= MAX_QUADRATIC, f"a quadratic part of {part:.2f} for each pair: {normal}"


def _read(data: bytes) -> dict[str, Any]:
    try:
        template = json.loads(data[:MAX_TEMPLATE_BYTES])
    except (ValueError, RecursionError):
        return {}
    return template if isinstance(template, dict) else {}
