"""Parse and validate the options of writes and deletions, from the query or the body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kubeling import int64
from kubeling.apiserver import decoding, worker
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import Cause, CauseType, invalid_options, not_a_number
from kubeling.apiserver.storage.storage import Object

_VALIDATIONS = ("", "Ignore", "Warn", "Strict")
ORPHAN, BACKGROUND, FOREGROUND = "Orphan", "Background", "Foreground"
_POLICIES = (ORPHAN, BACKGROUND, FOREGROUND)
_MAX_MANAGER_CHARS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """The options of a create, update or patch.

    `manager` is the field manager: `fieldManager` of the query, or the first part of the client's user agent.
    `given` holds the options in the query, by the names of their fields.
    """

    dry_run: bool = False
    manager: str = ""
    force: bool = False
    given: Mapping[str, object] = field(default_factory=dict)

    def body(self, kind: str) -> Object:
        """Return the options as an object, as a webhook receives them."""
        return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **self.given}


def parse_write_options(request: Request, kind: str, *, apply: bool = False) -> WriteOptions:
    """Parse the options of a write; `kind` is CreateOptions, UpdateOptions or PatchOptions.

    Raises StatusError 422.
    """
    manager = request.option("fieldManager")
    causes = _dry_run_causes(request.query.get("dryRun", ()))
    validation = request.option("fieldValidation")
    if validation not in _VALIDATIONS:
        message = f'Unsupported value: "{validation}"'
        causes.append(Cause(CauseType.NOT_SUPPORTED, message, "fieldValidation"))
    if len(manager) > _MAX_MANAGER_CHARS or not manager.isprintable():
        message = f"want at most {_MAX_MANAGER_CHARS} printable characters"
        causes.append(Cause(CauseType.INVALID, message, "fieldManager"))
    if apply and not manager:
        causes.append(Cause(CauseType.REQUIRED, "is required for apply patch", "fieldManager"))
    force = request.option("force")
    if kind == "PatchOptions" and not apply and force:
        causes.append(
            Cause(CauseType.FORBIDDEN, "may not be specified for non-apply patch", "force")
        )
    if causes:
        raise invalid_options(kind, causes)
    dry_run = list(request.query.get("dryRun", ()))
    given = {"dryRun": dry_run, "fieldManager": manager, "fieldValidation": validation}
    return WriteOptions(
        dry_run=bool(dry_run),
        manager=manager or _user_agent(request),
        force=force.lower() in ("true", "1"),
        given={name: value for name, value in given.items() if value},
    )


def _user_agent(request: Request) -> str:
    return request.headers.get("user-agent", "").partition("/")[0][:_MAX_MANAGER_CHARS] or "unknown"


def _dry_run_causes(values: Sequence[str]) -> list[Cause]:
    if all(value == "All" for value in values):
        return []
    return [
        Cause(CauseType.NOT_SUPPORTED, f'Unsupported value: {list(values)}, want "All"', "dryRun")
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """The options of a deletion.

    `policy` is the propagation policy for dependents; empty means the default of the kind. `grace` is in
    seconds; None means the object's own grace period.
    """

    dry_run: bool = False
    grace: int | None = None
    uid: str = ""
    revision: str = ""
    policy: str = ""

    def body(self) -> Object:
        """Return the options as an object, as a webhook receives them."""
        body: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            body["dryRun"] = ["All"]
        if self.policy:
            body["propagationPolicy"] = self.policy
        return body | ({} if self.grace is None else {"gracePeriodSeconds": self.grace})


async def read_delete_options(request: Request) -> DeleteOptions:
    """Read the options of a deletion from its body, or from the query if there is no body.

    Raises StatusError 400, 415, 422.
    """
    if request.value is not None:
        return parse_delete_options(request.value)
    body = await request.body()
    if not body:
        return parse_delete_options(_from_query(request))
    return parse_delete_options(
        await worker.run(len(body), decoding.decode_delete_options, request, body)
    )


def parse_delete_options(given: Object) -> DeleteOptions:
    """Parse and validate a DeleteOptions object. Raises StatusError 422."""
    dry_run = given.get("dryRun") or []
    causes = _dry_run_causes(dry_run)
    policy = given.get("propagationPolicy")
    if policy is not None and policy not in _POLICIES:
        message = f'Unsupported value: "{policy}"'
        causes.append(Cause(CauseType.NOT_SUPPORTED, message, "propagationPolicy"))
    if policy is not None and given.get("orphanDependents") is not None:
        message = "orphanDependents and propagationPolicy cannot be both set"
        causes.append(Cause(CauseType.INVALID, message, "propagationPolicy"))
    if causes:
        raise invalid_options("DeleteOptions", causes)
    if given.get("orphanDependents") is not None:  # deprecated
        policy = ORPHAN if given["orphanDependents"] else BACKGROUND
    preconditions = given.get("preconditions") or {}
    return DeleteOptions(
        dry_run=bool(dry_run),
        grace=given.get("gracePeriodSeconds"),
        uid=preconditions.get("uid") or "",
        revision=preconditions.get("resourceVersion") or "",
        policy=policy or "",
    )


def _from_query(request: Request) -> Object:
    found: Object = {"dryRun": list(request.query.get("dryRun", ()))}
    if policy := request.option("propagationPolicy"):
        found["propagationPolicy"] = policy
    if text := request.option("gracePeriodSeconds"):
        if (seconds := int64.parse(text)) is None:
            raise not_a_number("gracePeriodSeconds", text)
        found["gracePeriodSeconds"] = seconds
    return found
