"""The operations on certificates, one function each, and their paths.

Source: https://learn.microsoft.com/rest/api/keyvault/certificates
"""

import base64
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault import errors, object_operations, wire
from podpass.lab.services.vault.certificates import answers, issuance, records
from podpass.lab.services.vault.certificates import policy as policies
from podpass.lab.services.vault.certificates.errors import PendingCertificateNotFound
from podpass.lab.services.vault.certificates.policy import SELF, Policy
from podpass.lab.services.vault.certificates.records import CertificateSettings
from podpass.lab.services.vault.model import CERTIFICATES, ObjectState, SecretVersion
from podpass.lab.services.vault.request import Operation, VaultRequest, VaultResponse
from podpass.lab.services.vault.store import Restored

_ACTIONS = f"{object_operations.PROVIDER}/{CERTIFICATES.plural}"
_RETRY_SECONDS = b"10"


async def _find(request: VaultRequest) -> SecretVersion:
    return request.require_found(
        await request.store.get(request.shelf, request.name, request.version)
    )


async def _find_state(request: VaultRequest) -> ObjectState:
    state = await request.store.find(request.shelf, request.name)
    if state is None:
        raise errors.not_found(CERTIFICATES, request.name)
    return state


def _issue(
    policy: Policy, previous: SecretVersion | None, now: float
) -> tuple[x509.Certificate, PrivateKey, str]:
    """Return a self-signed certificate, its key, and its request as base64 of DER."""
    key = None if previous is None else _reusable(policy, records.key_of(previous))
    if key is None:
        key = issuance.generate_key(policy.key)
    certificate = issuance.build_self_signed(policy, key, datetime.fromtimestamp(now, UTC))
    csr = issuance.build_request(policy, key).public_bytes(Encoding.DER)
    return certificate, key, base64.b64encode(csr).decode()


def _reusable(policy: Policy, key: PrivateKey) -> PrivateKey | None:
    """Return the key of the last version if the policy reuses it, and it is of the policy's type."""
    return key if policy.key.reuse and issuance.matches(key, policy.key) else None


async def _create(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    attributes = wire.parse_attributes(given)
    store, now = request.store, int(request.now)
    await store.purge_expired(request.now)
    state = await store.find(request.shelf, request.name)
    if given.get("policy") is None and state is not None:
        policy = CertificateSettings.of(state).policy
    else:
        policy = policies.parse(given.get("policy"))
    if policy.issuer != SELF:
        raise errors.NotSupported(f"podpass's vaults do not support the issuer {policy.issuer}.")
    previous = await store.get(request.shelf, request.name)
    certificate, key, csr = await request.compute(_issue, policy, previous, request.now)
    pending = {"request_id": uuid.uuid4().hex, "csr": csr, "issuer": policy.issuer}
    settings = CertificateSettings(
        policy=policy,
        created=now if state is None else CertificateSettings.of(state).created,
        updated=now,
        pending=pending,
    )
    new_state = ObjectState(
        vault=request.shelf,
        name=request.name if state is None else state.name,
        settings=settings.to_json(),
    )
    version = records.new_version(new_state, (certificate,), key, attributes, request.now)
    written = await request.compute(records.with_views, version)
    await store.put(written, request.audit, states=records.states_of(new_state), expected=state)
    # As in Azure, the first answer says that the operation runs; the next one that it is completed.
    return _started(request, new_state.name, pending)


def _started(request: VaultRequest, name: str, pending: dict[str, Any]) -> VaultResponse:
    body = answers.pending_json(request.context, name, pending, answers.IN_PROGRESS)
    query = f"api-version={request.query['api-version']}&request_id={pending['request_id']}"
    return VaultResponse(
        body=body,
        status=202,
        headers=[
            (b"location", f"{body['id']}?{query}".encode()),
            (b"retry-after", _RETRY_SECONDS),
        ],
    )


async def _get_pending(request: VaultRequest) -> VaultResponse:
    state = await _find_state(request)
    pending = CertificateSettings.of(state).pending
    wanted = request.query.get("request_id")
    if pending is None or wanted not in (None, pending["request_id"]):
        raise PendingCertificateNotFound(
            f"The certificate {state.name} has no such operation.", name=state.name
        )
    return VaultResponse(
        body=answers.pending_json(request.context, state.name, pending, answers.COMPLETED)
    )


async def _get(request: VaultRequest) -> VaultResponse:
    found = await _find(request)
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
        request.shelf,
        request.name,
        request.version,
        attributes,
        request.now,
        request.audit,
        views=records.view_shelves(request.shelf),
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
    changed = replace(
        settings, policy=policies.parse(given, settings.policy), updated=int(request.now)
    )
    new_state = replace(state, settings=changed.to_json())
    await request.store.put_states([new_state], request.audit, expected=state)
    return new_state


def _restore(found: Sequence[SecretVersion]) -> Restored:
    """Return what to write for a backup: all versions with their views, and the policy without operation."""
    latest = found[-1]
    settings = replace(CertificateSettings.of(latest), pending=None)
    state = ObjectState(vault=latest.vault, name=latest.name, settings=settings.to_json())
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
    views=lambda request: records.view_shelves(request.shelf),
    prepare=lambda _: _restore,
)
_GET = _operation("get certificate", "read", "get", _get)
_UPDATE = _operation("update certificate", "update/action", "update", _update, changes=True)
_CREATE = _operation("create certificate", "create/action", "create", _create, changes=True)
_GET_PENDING = _operation("get operation of certificate", "read", "get", _get_pending)
_GET_POLICY = _operation("get certificate policy", "read", "get", _get_policy)
_SET_POLICY = _operation(
    "update certificate policy", "update/action", "update", _set_policy, changes=True
)
PATHS = object_operations.merge(
    object_operations.paths(_VIEW),
    {
        ("certificates", "*"): {"GET": _GET, "PATCH": _UPDATE},
        ("certificates", "*", "create"): {"POST": _CREATE},
        ("certificates", "*", "pending"): {"GET": _GET_PENDING},
        ("certificates", "*", "policy"): {"GET": _GET_POLICY, "PATCH": _SET_POLICY},
        ("certificates", "*", "+"): {"GET": _GET, "PATCH": _UPDATE},
    },
)
