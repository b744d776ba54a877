"""The operations on keys, one function each, and their paths.

Source: https://learn.microsoft.com/rest/api/keyvault/keys
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from podpass.crypto import jose
from podpass.crypto.x509 import PrivateKey
from podpass.directory.roles import KEYS as ACTIONS
from podpass.directory.roles import ROTATION_POLICIES
from podpass.lab.services.vault import errors, object_operations, wire
from podpass.lab.services.vault.key_types import RSA
from podpass.lab.services.vault.keys import (
    algorithms,
    jwk,
    parameters,
    rotation,
    rotation_policy,
    views,
)
from podpass.lab.services.vault.keys.usage import check_use
from podpass.lab.services.vault.model import KEYS, ObjectAttributes, ObjectState
from podpass.lab.services.vault.request import Operation, VaultRequest, VaultResponse


async def _write(
    request: VaultRequest,
    key: PrivateKey,
    operations: tuple[str, ...],
    attributes: ObjectAttributes,
) -> VaultResponse:
    new = rotation.new_key_version(
        request.collection, request.name, key, operations, attributes, request.now
    )
    written = await rotation.put(request.store, new, request.audit)
    return VaultResponse(body=views.bundle(request.context, written))


async def _create(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    wanted = parameters.parse_create(given)
    operations = parameters.parse_operations(given, wanted.kty)
    attributes = wire.parse_attributes(given)
    # A key on a curve takes less than a millisecond.
    work = request.generate if wanted.curve is None else request.compute
    return await _write(request, await work(wanted.generate), operations, attributes)


async def _import(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    numbers, operations = parameters.parse_import(given)
    attributes = wire.parse_attributes(given)
    key = await request.generate(jwk.build_private, numbers)
    return await _write(request, key, operations, attributes)


async def _rotate(request: VaultRequest) -> VaultResponse:
    latest = await request.find_version()
    new = await request.generate(rotation.generate_next, latest, request.now)
    written = await rotation.put(request.store, new, request.audit)
    return VaultResponse(body=views.bundle(request.context, written))


async def _get(request: VaultRequest) -> VaultResponse:
    # A disabled or expired key is shown: its public part is no secret.
    return VaultResponse(body=views.bundle(request.context, await request.find_version()))


async def _update(request: VaultRequest) -> VaultResponse:
    given = wire.parse_object(request.body)
    parameters.check_not_exportable(given)
    attributes = wire.parse_attributes(given)
    if given.get("key_ops") is not None:
        found = await request.find_version()
        operations = parameters.parse_operations(given, found.document["jwk"]["kty"])
        attributes = replace(
            attributes,
            given=attributes.given | {"document"},
            document={**found.document, "key_ops": list(operations)},
        )
        # The document is that of this version, also if another one becomes the latest in between.
        request = replace(request, version=found.version)
    changed = request.require_found(
        await request.store.update(
            request.collection,
            request.name,
            request.version,
            attributes,
            request.now,
            request.audit,
        )
    )
    if "expires" in attributes.given and "rotation" in changed.settings:
        await rotation.change_settings(request.store, request.collection, request.name)
    return VaultResponse(body=views.bundle(request.context, changed))


async def _get_policy(request: VaultRequest) -> VaultResponse:
    return VaultResponse(body=views.policy_json(request.context, await request.find_version()))


async def _set_policy(request: VaultRequest) -> VaultResponse:
    given = rotation_policy.parse(wire.parse_object(request.body))
    now = int(request.now)

    def change(state: ObjectState) -> ObjectState:
        dated = replace(given, created=views.policy(state).created or now, updated=now)
        return replace(
            state, settings={**state.settings, "rotation": rotation_policy.to_json(dated)}
        )

    changed = await rotation.change_settings(
        request.store, request.collection, request.name, change, request.audit
    )
    return VaultResponse(body=views.policy_json(request.context, request.require_found(changed)))


async def _random(request: VaultRequest) -> VaultResponse:
    count = parameters.parse_random(wire.parse_object(request.body))
    return VaultResponse(body={"value": jose.b64encode(secrets.token_bytes(count))})


async def _release(request: VaultRequest) -> VaultResponse:
    await request.find_version()
    raise errors.BadParameter(
        f"The key {request.name} has no release policy and is not exportable: a release needs an HSM."
    )


# From a private key and the parameters of a request to the value of the response.
Work = Callable[[PrivateKey, parameters.CryptographicRequest], bytes | bool]


def _verify(key: PrivateKey, given: parameters.CryptographicRequest) -> bool:
    return algorithms.verify(key.public_key(), given.algorithm, given.value, given.signature)


def _encrypt(key: PrivateKey, given: parameters.CryptographicRequest) -> bytes:
    return algorithms.encrypt(key.public_key(), given.algorithm, given.value)


_WORK: dict[str, Work] = {
    "encrypt": _encrypt,
    "decrypt": lambda key, given: algorithms.decrypt(key, given.algorithm, given.value),
    "sign": lambda key, given: algorithms.sign(key, given.algorithm, given.value),
    "verify": _verify,
    "wrapKey": _encrypt,
    "unwrapKey": lambda key, given: algorithms.decrypt(key, given.algorithm, given.value),
}


def _use_handler(name: str) -> Callable[[VaultRequest], Awaitable[VaultResponse]]:
    """Return the operation that uses a key, by its name in `key_ops`."""
    work = _WORK[name]

    async def run(request: VaultRequest) -> VaultResponse:
        body = wire.parse_object(request.body)
        given = parameters.parse_cryptographic(body, verifies=name == "verify")
        found = await request.find_version()
        check_use(
            name,
            permitted=views.permitted(found),
            enabled=found.enabled,
            not_before=found.not_before,
            expires=found.expires,
            now=request.now,
        )
        result = await request.compute(lambda: work(views.load(found.value), given))
        if isinstance(result, bool):
            return VaultResponse(body={"value": result})
        kid = views.key_id(request.context, found)
        return VaultResponse(body={"kid": kid, "value": jose.b64encode(result)})

    return run


def _operation(title: str, action: str, permission: str, run: Any, **more: Any) -> Operation:
    return Operation(title=title, action=action, permission=permission, run=run, kind=KEYS, **more)


_VIEW = object_operations.View(
    kind=KEYS, item=views.item, bundle=views.bundle, prepare=lambda _: rotation.restore
)
_GET = _operation("get key", f"{ACTIONS}/read", "get", _get)
_UPDATE = _operation("update key", f"{ACTIONS}/update/action", "update", _update, changes=True)
_IMPORT = _operation("import key", f"{ACTIONS}/import/action", "import", _import, changes=True)
_CREATE = _operation("create key", f"{ACTIONS}/create/action", "create", _create, changes=True)
_ROTATE = _operation("rotate key", rotation.ROTATE_KEY, "rotate", _rotate, changes=True)
_GET_POLICY = _operation(
    "get rotation policy", f"{ROTATION_POLICIES}/read", "getrotationpolicy", _get_policy
)
_SET_POLICY = _operation(
    "set rotation policy",
    f"{ROTATION_POLICIES}/write",
    "setrotationpolicy",
    _set_policy,
    changes=True,
)
_RELEASE = _operation("release key", f"{ACTIONS}/release/action", "release", _release)
# Access policies have no permission for random bytes.
_RANDOM = _operation("get random bytes", f"{ACTIONS}/rng/action", "get", _random)
_USES = {
    name.lower(): {
        "POST": _operation(
            f"{name} with key",
            f"{ACTIONS}/{name.removesuffix('Key')}/action",
            name.lower(),
            _use_handler(name),
        )
    }
    for name in parameters.OPERATIONS[RSA]
}
PATHS = object_operations.merge(
    object_operations.paths(_VIEW),
    {
        ("keys", "*"): {"GET": _GET, "PUT": _IMPORT, "PATCH": _UPDATE},
        ("keys", "*", "create"): {"POST": _CREATE},
        ("keys", "*", "rotate"): {"POST": _ROTATE},
        ("keys", "*", "rotationpolicy"): {"GET": _GET_POLICY, "PUT": _SET_POLICY},
        ("keys", "*", "+"): {"GET": _GET, "PATCH": _UPDATE},
        ("keys", "*", "+", "release"): {"POST": _RELEASE},
        ("rng",): {"POST": _RANDOM},
    },
    {("keys", "*", "+", name): methods for name, methods in _USES.items()},
    # azkeys for Go omits the segment of an empty version.
    {("keys", "*", name): methods for name, methods in _USES.items()},
)
