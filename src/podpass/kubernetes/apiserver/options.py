"""Options of writes and deletions, from the query or the body, checked before anything is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podpass.kubernetes import int64
from podpass.kubernetes.apiserver import decoding
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import Cause, Why, invalid_options, not_a_number
from podpass.kubernetes.apiserver.storage.storage import Object

_VALIDATIONS = ("", "Ignore", "Warn", "Strict")
ORPHAN, BACKGROUND, FOREGROUND = "Orphan", "Background", "Foreground"
_POLICIES = (ORPHAN, BACKGROUND, FOREGROUND)
_MAX_MANAGER = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a create, update or patch is meant.

    Shapes:  `manager` names who owns the fields that are written: as given, or else the first part of
             the client's user agent. `given` is what the client's query says, by the options' fields.
    """

    dry_run: bool = False
    manager: str = ""
    force: bool = False
    given: Mapping[str, object] = field(default_factory=dict)

    def body(self, kind: str) -> Object:
        """Write the options as a webhook is shown them."""
        return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **self.given}


def write(request: Request, kind: str, *, apply: bool = False) -> WriteOptions:
    """Read the options of a write; `kind` is CreateOptions, UpdateOptions or PatchOptions.

    Errors:  StatusError 422.
    """
    manager = request.option("fieldManager")
    causes = _dry_run_causes(request.query.get("dryRun", ()))
    validation = request.option("fieldValidation")
    if validation not in _VALIDATIONS:
        told = f'Unsupported value: "{validation}"'
        causes.append(Cause(Why.NOT_SUPPORTED, told, "fieldValidation"))
    if len(manager) > _MAX_MANAGER or not manager.isprintable():
        told = f"want at most {_MAX_MANAGER} printable characters"
        causes.append(Cause(Why.INVALID, told, "fieldManager"))
    if apply and not manager:
        causes.append(Cause(Why.REQUIRED, "is required for apply patch", "fieldManager"))
    force = request.option("force")
    if kind == "PatchOptions" and not apply and force:
        causes.append(Cause(Why.FORBIDDEN, "may not be specified for non-apply patch", "force"))
    if causes:
        raise invalid_options(kind, causes)
    dry_run = list(request.query.get("dryRun", ()))
    given = {"dryRun": dry_run, "fieldManager": manager, "fieldValidation": validation}
    return WriteOptions(
        dry_run=bool(dry_run),
        manager=manager or _agent(request),
        force=force.lower() in ("true", "1"),
        given={name: value for name, value in given.items() if value},
    )


def _agent(request: Request) -> str:
    return request.headers.get("user-agent", "").partition("/")[0][:_MAX_MANAGER] or "unknown"


def _dry_run_causes(values: Sequence[str]) -> list[Cause]:
    if all(value == "All" for value in values):
        return []
    return [Cause(Why.NOT_SUPPORTED, f'Unsupported value: {list(values)}, want "All"', "dryRun")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """How a deletion is meant.

    Shapes:  `policy` says what becomes of what the object owns; empty leaves it to the kind.
    Units:   `grace` in seconds; None leaves it to the object.
    """

    dry_run: bool = False
    grace: int | None = None
    uid: str = ""
    revision: str = ""
    policy: str = ""

    def body(self) -> Object:
        """Write the options as a webhook is shown them."""
        every: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            every["dryRun"] = ["All"]
        if self.policy:
            every["propagationPolicy"] = self.policy
        return every | ({} if self.grace is None else {"gracePeriodSeconds": self.grace})


async def delete(request: Request) -> DeleteOptions:
    """Read the options of a deletion, from its body if it has one, else from the query.

    Errors:  StatusError 400, 415, 422.
    """
    body = await request.body()
    return delete_of(decoding.options(request, body) if body else _from_query(request))


def delete_of(given: Object) -> DeleteOptions:
    """Check a DeleteOptions object.

    Errors:  StatusError 422.
    """
    dry_run = given.get("dryRun") or []
    causes = _dry_run_causes(dry_run)
    policy = given.get("propagationPolicy")
    if policy is not None and policy not in _POLICIES:
        told = f'Unsupported value: "{policy}"'
        causes.append(Cause(Why.NOT_SUPPORTED, told, "propagationPolicy"))
    if policy is not None and given.get("orphanDependents") is not None:
        told = "orphanDependents and propagationPolicy cannot be both set"
        causes.append(Cause(Why.INVALID, told, "propagationPolicy"))
    if causes:
        raise invalid_options("DeleteOptions", causes)
    preconditions = given.get("preconditions") or {}
    return DeleteOptions(
        dry_run=bool(dry_run),
        grace=given.get("gracePeriodSeconds"),
        uid=preconditions.get("uid") or "",
        revision=preconditions.get("resourceVersion") or "",
        policy=policy or _older_policy(given.get("orphanDependents")),
    )


def _older_policy(orphan: bool | None) -> str:
    """Read the field that said it before there were policies."""
    return "" if orphan is None else ORPHAN if orphan else BACKGROUND


def _from_query(request: Request) -> Object:
    found: Object = {"dryRun": list(request.query.get("dryRun", ()))}
    if policy := request.option("propagationPolicy"):
        found["propagationPolicy"] = policy
    if text := request.option("gracePeriodSeconds"):
        found["gracePeriodSeconds"] = _number(text)
    return found


def _number(text: str) -> int:
    if (seconds := int64.read(text)) is None:
        raise not_a_number("gracePeriodSeconds", text)
    return seconds
