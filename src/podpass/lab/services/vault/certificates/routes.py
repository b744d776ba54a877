"""The operations on certificates, one function each, and their paths.

Source: https://learn.microsoft.com/rest/api/keyvault/certificates
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cryptography import x509

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault import errors, object_operations, wire
from podpass.lab.services.vault.certificates import (
    answers,
    contacts,
    decoder,
    issuers,
    issuing,
    lifetime,
    members,
    records,
    views,
)
from podpass.lab.services.vault.certificates import policy as policies
from podpass.lab.services.vault.certificates.decoding import MAX_CHAIN, Decoded, decode_merged
from podpass.lab.services.vault.certificates.errors import (
    CertificateIssuerUnavailable,
    in_progress,
    pending_not_found,
)
from podpass.lab.services.vault.certificates.pending import (
    CANCELLED,
    COMPLETED,
    IN_PROGRESS,
    PendingOperation,
)
from podpass.lab.services.vault.certificates.policy import Policy
from podpass.lab.services.vault.certificates.records import CertificateSettings
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import views as key_views
from podpass.lab.services.vault.model import (
    CERTIFICATES,
    TYPE,
    MissingObject,
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
)
from podpass.lab.services.vault.request import Operation, VaultRequest, VaultResponse
from podpass.lab.services.vault.store import Restored

_ACTIONS = f"{TYPE}/{CERTIFICATES.plural}"
_RETRY_AFTER = (b"retry-after", b"10")
_MAX_PASSWORD = 1024


async def _find_state(request: VaultRequest) -> ObjectState:
    state = await request.store.find(request.collection, request.name)
    if state is None:
        raise errors.not_found(CERTIFICATES, request.name)
    return state


def _settings(state: ObjectState | None, policy: Policy, now: int) -> CertificateSettings:
    """Return the settings of a certificate, or of a new one, with another policy."""
    if state is None:
        return CertificateSettings(policy=policy, created=now, updated=now)
    return replace(CertificateSettings.of(state), policy=policy, updated=now)


def _with_settings(
    request: VaultRequest, state: ObjectState | None, settings: CertificateSettings
) -> ObjectState:
    """Return the state of a certificate, or of a new one, with other settings."""
    existing = state or ObjectState(collection=request.collection, name=request.name)
    return replace(existing, settings=settings.to_json())


async def _find_writable(request: VaultRequest) -> ObjectState | None:
    """Return the state of a certificate that gets a new version; None if it does not exist.

    Raises OperationInProgress.
    """
    state = await request.store.find(request.collection, request.name)
    if state is not None:
        operation = CertificateSettings.of(state).pending
        if operation is not None and operation.in_progress:
            raise in_progress(state.name)
    return state


def _parse_attributes(given: Mapping[str, Any]) -> ObjectAttributes:
    """Parse the attributes of a new version. Raises BadParameter."""
    attributes = wire.parse_attributes(given)
    if given.get("preserveCertOrder") is None:
        return attributes
    ordered = members.flag(given, "preserveCertOrder", False)
    return replace(attributes, document={"preserve_order": ordered})


async def _create(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    attributes = _parse_attributes(given)
    store, now = request.store, int(request.now)
    state = await _find_writable(request)
    if given.get("policy") is None and state is not None:
        policy = CertificateSettings.of(state).policy
    else:
        policy = policies.parse(given.get("policy"))
    signer, error = None, None
    try:
        signer = await issuing.find_signer(store, request.collection, policy, request.now)
    except CertificateIssuerUnavailable as exc:
        error = exc.message
    wanted = issuing.NewCertificate(
        state=_with_settings(request, state, _settings(state, policy, now)),
        previous=await store.get(request.collection, request.name),
        attributes=attributes,
        now=request.now,
        signer=signer,
        error=error,
    )
    made = await request.generate(issuing.create, store, wanted)
    await made.write(store, request.audit, state)
    # As in Azure, the first answer says that the operation runs; the next one that it is completed.
    started = replace(made.operation, status=IN_PROGRESS, error=None)
    body = answers.pending_json(request.context, made.state.name, started)
    query = f"api-version={request.query['api-version']}&request_id={started.request_id}"
    location = (b"location", f"{body['id']}?{query}".encode())
    return VaultResponse(body=body, status=202, headers=[location, _RETRY_AFTER])


async def _import(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    attributes = _parse_attributes(given)
    value = given.get("value")
    if not isinstance(value, str):
        raise BadParameter("The body must contain 'value', as a string.")
    password = members.text(given, "pwd", "", _MAX_PASSWORD)
    state = await _find_writable(request)
    ordered = attributes.document.get("preserve_order", False)
    # Without turns, a caller would wait for all slow imports of another caller.
    async with request.slot(request.limits.imports):
        found = await decoder.decode(value, password, preserve_order=ordered)
    policy = _import_policy(given.get("policy"), found)
    settings = replace(_settings(state, policy, int(request.now)), pending=None)
    new_state = _with_settings(request, state, settings)
    written = await request.compute(
        _build_version,
        new_state,
        found.certificates,
        found.key,
        attributes,
        request.now,
        await request.store.get(request.collection, request.name),
    )
    return VaultResponse(body=await _put(request, new_state, written, state))


def _import_policy(given: object, found: Decoded) -> Policy:
    """Return the policy of an import: the certificate provides the members that the request omits.

    Raises BadParameter if the request names another format than that of the value.
    """
    derived = views.derive_policy(found.certificates[0], found.content_type)
    policies.check_derived(derived)
    if given is None:
        return derived
    policy = policies.parse(given, derived)
    if policy.content_type != found.content_type:
        raise BadParameter(
            f"The value is {found.content_type}, but the policy's contentType is {policy.content_type}."
        )
    # The type of the key is that of the imported key, not that of the request.
    key = replace(derived.key, exportable=policy.key.exportable, reuse=policy.key.reuse)
    return replace(policy, key=key)


def _build_version(
    state: ObjectState,
    certificates: Sequence[x509.Certificate],
    key: PrivateKey,
    attributes: ObjectAttributes,
    now: float,
    previous: ObjectVersion | None,
    version: str = "",
) -> list[ObjectVersion]:
    new = records.new_certificate_version(
        state, certificates, key, attributes, now, version=version, previous=previous
    )
    return records.with_views(new)


async def _put(
    request: VaultRequest,
    state: ObjectState,
    written: Sequence[ObjectVersion],
    expected: ObjectState | None,
) -> dict[str, Any]:
    """Write a version with its views, and return its JSON."""
    states = records.states_of(lifetime.plan(state, written[0]))
    before = expected or MissingObject(collection=state.collection, name=state.name)
    await request.store.put(written, request.audit, states=states, expected=before)
    return answers.bundle(request.context, replace(written[0], settings=state.settings))


async def _find_operation(request: VaultRequest) -> tuple[ObjectState, PendingOperation]:
    state = await _find_state(request)
    operation = CertificateSettings.of(state).pending
    wanted = request.query.get("request_id")
    if operation is None or operation.deleted or wanted not in (None, operation.request_id):
        raise pending_not_found(state.name)
    return state, operation


async def _get_pending(request: VaultRequest) -> VaultResponse:
    state, operation = await _find_operation(request)
    return VaultResponse(
        body=answers.pending_json(request.context, state.name, operation),
        headers=[_RETRY_AFTER] if operation.in_progress else [],
    )


async def _cancel(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    state, operation = await _find_operation(request)
    if not members.flag(given, "cancellation_requested", False):
        raise BadParameter("'cancellation_requested' must be true.")
    if not operation.in_progress:
        raise BadParameter(f"The operation is not in progress: its status is {operation.status}.")
    requested = replace(operation, cancellation_requested=True)
    await _change_operation(request, state, replace(requested, status=CANCELLED))
    # As in Azure, this response still says `inProgress`; the next response says `cancelled`.
    return VaultResponse(body=answers.pending_json(request.context, state.name, requested))


async def _delete_pending(request: VaultRequest) -> VaultResponse:
    state, operation = await _find_operation(request)
    await _change_operation(request, state, replace(operation, deleted=True, key=None))
    return VaultResponse(body=answers.pending_json(request.context, state.name, operation))


async def _change_operation(
    request: VaultRequest, state: ObjectState, operation: PendingOperation
) -> None:
    settings = replace(CertificateSettings.of(state), pending=operation)
    latest = await request.store.get(request.collection, request.name)
    changed = lifetime.plan(_with_settings(request, state, settings), latest)
    await request.store.put_states([changed], request.audit, expected=state)


async def _merge(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    attributes = wire.parse_attributes(given)
    chain = members.as_list(given.get("x5c"), "x5c", MAX_CHAIN)
    state, operation = await _find_operation(request)
    # A certificate that was issued elsewhere completes a cancelled or failed operation too.
    if operation.key is None:
        raise BadParameter(f"The operation is {operation.status}: it needs no certificate.")
    key = key_views.load(request.store.open_text(operation.key, state))
    certificates = await request.compute(decode_merged, chain, key.public_key())
    completed = replace(operation, status=COMPLETED, key=None, error=None)
    settings = replace(CertificateSettings.of(state), pending=completed)
    new_state = _with_settings(request, state, settings)
    written = await request.compute(
        _build_version,
        new_state,
        certificates,
        key,
        _merge_attributes(attributes, operation),
        request.now,
        await request.store.get(request.collection, request.name),
        operation.version,
    )
    return VaultResponse(body=await _put(request, new_state, written, state), status=201)


def _merge_attributes(given: ObjectAttributes, operation: PendingOperation) -> ObjectAttributes:
    """Return the attributes of a merged version: those of its creation, or those of the merge."""
    document = {"preserve_order": operation.preserve_order, "exportable": False}
    if operation.preserve_order is None:
        del document["preserve_order"]
    # Otherwise the current policy decides. It cannot change a key that was created as not exportable.
    if operation.exportable:
        del document["exportable"]
    return replace(
        given,
        enabled=given.enabled if "enabled" in given.given else operation.enabled,
        tags=given.tags if "tags" in given.given else operation.tags,
        document=document,
    )


async def _get(request: VaultRequest) -> VaultResponse:
    store, collection, name = request.store, request.collection, request.name
    found = await store.get(collection, name, request.version)
    if found is None and not request.version:
        state = await _find_state(request)
        # Another request may have created the first version in between.
        found = await store.get(collection, name) or records.unissued_version(state)
    found = request.require_found(found)
    show = answers.version_bundle if request.version else answers.bundle
    return VaultResponse(body=show(request.context, found))


async def _update(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    attributes = wire.parse_attributes(given)
    # The lifetime is that of the certificate, the content type that of its policy.
    attributes = replace(attributes, given=attributes.given & {"enabled", "tags"})
    if given.get("policy") is not None:
        await _change_policy(request, given["policy"])
    changed = await request.store.update(
        request.collection,
        request.name,
        request.version,
        attributes,
        request.now,
        request.audit,
        views=records.view_collections(request.collection),
    )
    found = request.require_found(changed)
    show = answers.version_bundle if request.version else answers.bundle
    return VaultResponse(body=show(request.context, found))


async def _get_policy(request: VaultRequest) -> VaultResponse:
    state = await _find_state(request)
    return VaultResponse(body=answers.policy_json(request.context, state.name, state))


async def _set_policy(request: VaultRequest) -> VaultResponse:
    state = await _change_policy(request, wire.parse_object(request.body))
    return VaultResponse(body=answers.policy_json(request.context, state.name, state))


async def _change_policy(request: VaultRequest, given: object) -> ObjectState:
    """Change the given members of the policy, which applies to the next version."""
    state = await _find_state(request)
    settings = CertificateSettings.of(state)
    policy = policies.parse(given, settings.policy)
    latest = await request.store.get(request.collection, request.name)
    changed = _with_settings(request, state, _settings(state, policy, int(request.now)))
    new_state = lifetime.plan(changed, latest)
    await request.store.put_states([new_state], request.audit, expected=state)
    return new_state


def _restore(found: Sequence[ObjectVersion]) -> Restored:
    """Return what to write for a backup: all versions with their views, and the policy without operation."""
    latest = found[-1]
    settings = replace(CertificateSettings.of(latest), pending=None)
    state = ObjectState(collection=latest.collection, name=latest.name, settings=settings.to_json())
    state = lifetime.plan(state, latest)
    written = [view for version in found for view in records.with_views(version)]
    return written, records.states_of(state)


def _operation(title: str, action: str, permission: str, run: Any, **more: Any) -> Operation:
    return Operation(
        title=title,
        action=f"{_ACTIONS}/{action}",
        permission=permission,
        run=run,
        kind=CERTIFICATES,
        **more,
    )


_VIEW = object_operations.View(
    kind=CERTIFICATES,
    item=answers.item,
    bundle=answers.bundle,
    views=lambda request: records.view_collections(request.collection),
    prepare=lambda _: _restore,
    unissued=records.unissued_version,
)
_GET = _operation("get certificate", "read", "get", _get)
_UPDATE = _operation("update certificate", "update/action", "update", _update, changes=True)
_CREATE = _operation("create certificate", "create/action", "create", _create, changes=True)
_GET_PENDING = _operation("get operation of certificate", "read", "get", _get_pending)
_CANCEL = _operation(
    "cancel operation of certificate", "update/action", "update", _cancel, changes=True
)
_DELETE_PENDING = _operation(
    "delete operation of certificate", "delete", "delete", _delete_pending, changes=True
)
_MERGE = _operation("merge certificate", "create/action", "create", _merge, changes=True)
_IMPORT = _operation("import certificate", "import/action", "import", _import, changes=True)
_GET_POLICY = _operation("get certificate policy", "read", "get", _get_policy)
_SET_POLICY = _operation(
    "update certificate policy", "update/action", "update", _set_policy, changes=True
)
PATHS = object_operations.merge(
    object_operations.paths(_VIEW),
    {
        ("certificates", "*"): {"GET": _GET, "PATCH": _UPDATE},
        ("certificates", "*", "create"): {"POST": _CREATE},
        ("certificates", "*", "import"): {"POST": _IMPORT},
        ("certificates", "*", "pending"): {
            "GET": _GET_PENDING,
            "PATCH": _CANCEL,
            "DELETE": _DELETE_PENDING,
        },
        ("certificates", "*", "pending", "merge"): {"POST": _MERGE},
        ("certificates", "*", "policy"): {"GET": _GET_POLICY, "PATCH": _SET_POLICY},
        ("certificates", "*", "+"): {"GET": _GET, "PATCH": _UPDATE},
    },
    issuers.PATHS,
    contacts.PATHS,
)
