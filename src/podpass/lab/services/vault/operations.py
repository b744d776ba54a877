"""The operations of secrets, one function each.

`app` authenticates and authorizes the caller before it runs an operation.
"""

from dataclasses import replace

from podpass.directory import roles
from podpass.lab.services.vault import errors, object_operations, wire
from podpass.lab.services.vault.certificates import views
from podpass.lab.services.vault.model import SECRETS
from podpass.lab.services.vault.request import Operation, Paths, VaultRequest, VaultResponse


async def _get(request: VaultRequest) -> VaultResponse:
    secret = await request.find_version()
    # Only `enabled` is checked: `exp` and `nbf` are information for the reader. Azure returns 200 after `exp`
    # (Azure/AzureKeyVault issue 19), and its documentation says that `get` works outside of both.
    if not secret.enabled:
        raise errors.SecretDisabled("This version of the secret is disabled. Enable it to read it.")
    wanted = request.query.get("outContentType")
    if secret.managed and wanted is not None:
        value = await request.compute(
            views.convert_secret, secret.value, secret.content_type or "", wanted
        )
        secret = replace(secret, value=value, content_type=wanted)
    return VaultResponse(body=wire.bundle(request.context, secret))


async def _set(request: VaultRequest) -> VaultResponse:
    value, wanted = wire.parse_set(request.body)
    secret = await request.store.set(
        request.collection, request.name, value, wanted, request.now, request.audit
    )
    return VaultResponse(body=wire.bundle(request.context, secret))


async def _update(request: VaultRequest) -> VaultResponse:
    wanted = wire.parse_update(request.body)
    changed = await request.store.update(
        request.collection, request.name, request.version, wanted, request.now, request.audit
    )
    return VaultResponse(body=wire.item(request.context, request.require_found(changed)))


GET = Operation(title="get secret", action=roles.GET_SECRET, permission="get", run=_get)
SET = Operation(
    title="set secret", action=roles.SET_SECRET, permission="set", run=_set, changes=True
)
UPDATE = Operation(
    title="update secret", action=roles.UPDATE_SECRET, permission="set", run=_update, changes=True
)
_VIEW = object_operations.View(kind=SECRETS, item=wire.item, bundle=wire.item)
PATHS: Paths = object_operations.merge(
    object_operations.paths(_VIEW),
    {
        ("secrets", "*"): {"GET": GET, "PUT": SET, "PATCH": UPDATE},
        ("secrets", "*", "+"): {"GET": GET, "PATCH": UPDATE},
    },
)
