"""The issuers of a vault, and the operations on them.

An issuer of the provider `podpass` has a CA of its own, which signs certificates. Any other provider can be
registered, but podpass does not connect to it.

Source: https://learn.microsoft.com/rest/api/keyvault/certificates/set-certificate-issuer
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault import wire
from podpass.lab.services.vault.certificates import issuance
from podpass.lab.services.vault.certificates.errors import (
    CertificateIssuerNotFound,
    CertificateIssuerUnavailable,
)
from podpass.lab.services.vault.certificates.members import (
    as_list,
    as_object,
    flag,
    number,
    section,
    text,
)
from podpass.lab.services.vault.certificates.policy import KeyProperties
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import views as key_views
from podpass.lab.services.vault.model import ISSUERS, TYPE, MissingObject, ObjectState, vault_of
from podpass.lab.services.vault.request import Operation, Paths, VaultRequest, VaultResponse
from podpass.lab.services.vault.store import VaultStore

PROVIDER = "podpass"
Signer = tuple[x509.Certificate, PrivateKey]
_ACTIONS = f"{TYPE}/certificatecas"
_MAX_ADMINISTRATORS = 20
_ADMINISTRATOR = ("first_name", "last_name", "email", "phone")
_ORGANIZATION = ("id", "address1", "address2", "city", "state")
# A certificate with a shorter lifetime would be renewed at every run.
_SHORTEST = timedelta(days=1)


async def find_signer(store: VaultStore, collection: str, name: str, now: float) -> Signer:
    """Return the CA of an issuer that signs certificates of a collection.

    Raises BadParameter for an issuer that does not exist or is disabled, CertificateIssuerUnavailable.
    """
    state = await store.find(f"{vault_of(collection)}{ISSUERS.suffix}", name)
    command = f"az keyvault certificate issuer {{}} --vault-name VAULT --issuer-name {name}"
    if state is None:
        create = command.format("create")
        raise BadParameter(
            f"The issuer {name} does not exist. Create it with `{create} --provider-name {PROVIDER}`.",
            issuer=name,
        )
    if not state.settings["enabled"]:
        update = command.format("update")
        raise BadParameter(
            f"The issuer {name} is disabled. Enable it with `{update} --enabled true`.", issuer=name
        )
    if (stored := state.settings.get("ca")) is None:
        raise CertificateIssuerUnavailable(
            f"podpass does not connect to the provider {state.settings['provider']} of the issuer {name}."
            f" An issuer of the provider {PROVIDER} signs certificates.",
            issuer=name,
        )
    certificate = x509.load_der_x509_certificate(base64.b64decode(stored["certificate"]))
    if certificate.not_valid_after_utc - datetime.fromtimestamp(now, UTC) < _SHORTEST:
        raise CertificateIssuerUnavailable(
            f"The CA of the issuer {name} expires. Delete the issuer and create it again.",
            issuer=name,
        )
    return certificate, key_views.load(store.open_text(stored["key"], state))


def _parse(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the settings of an issuer; `base` has the omitted ones. Raises BadParameter."""
    provider = text(given, "provider", base.get("provider", ""))
    if not provider:
        raise BadParameter("The body must contain 'provider', as a string.")
    # The password is for the provider. Nothing uses it, so it is not stored.
    account = section(given, "credentials").get("account_id", base.get("account_id"))
    if account is not None:
        account = text({"account_id": account}, "account_id", "")
    organization = base.get("organization", {"zip": 0})
    if given.get("org_details") is not None:
        organization = _parse_organization(as_object(given["org_details"], "org_details"))
    enabled = flag(section(given, "attributes"), "enabled", base.get("enabled", True))
    return {
        "provider": provider,
        "account_id": account,
        "organization": organization,
        "enabled": enabled,
    }


def _parse_organization(given: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = _strings(given, _ORGANIZATION)
    shown["zip"] = number(given, "zip", range(10**9)) if given.get("zip") is not None else 0
    if given.get("admin_details") is not None:
        people = as_list(given["admin_details"], "admin_details", _MAX_ADMINISTRATORS)
        shown["admin_details"] = [
            _strings(as_object(each, "admin_details"), _ADMINISTRATOR) for each in people
        ]
    return shown


def _strings(given: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    return {name: text(given, name, "") for name in names if given.get(name) is not None}


def _make_ca(name: str, now: float) -> Signer:
    key = issuance.generate_key(KeyProperties())
    return issuance.build_issuer(name, key, datetime.fromtimestamp(now, UTC)), key


def _bundle(request: VaultRequest, state: ObjectState) -> dict[str, Any]:
    stored = state.settings
    shown: dict[str, Any] = {**_item(request, state), "org_details": stored["organization"]}
    if stored["account_id"] is not None:
        shown["credentials"] = {"account_id": stored["account_id"]}
    shown["attributes"] = {name: stored[name] for name in ("enabled", "created", "updated")}
    return shown


def _item(request: VaultRequest, state: ObjectState) -> dict[str, Any]:
    address = f"{request.base}/{ISSUERS.path}/{state.name}"
    return {"id": address, "provider": state.settings["provider"]}


async def _find(request: VaultRequest) -> ObjectState:
    state = await request.store.find(request.collection, request.name)
    if state is None:
        raise CertificateIssuerNotFound(f"Issuer not found: {request.name}", name=request.name)
    return state


async def _list(request: VaultRequest) -> VaultResponse:
    limit, after = wire.parse_page(request.query)
    found = await request.store.page_states(request.collection, after=after, limit=limit + 1)
    items = [_item(request, each) for each in found[:limit]]
    last = found[limit - 1].name if len(found) > limit else None
    address = f"{request.base}/{ISSUERS.path}"
    return VaultResponse(body=wire.page(items, address, request.query, last))


async def _get(request: VaultRequest) -> VaultResponse:
    return VaultResponse(body=_bundle(request, await _find(request)))


async def _set(request: VaultRequest) -> VaultResponse:
    old = await request.store.find(request.collection, request.name)
    return await _write(request, old, _parse(wire.parse_object(request.body), {}))


async def _update(request: VaultRequest) -> VaultResponse:
    old = await _find(request)
    return await _write(request, old, _parse(wire.parse_object(request.body), old.settings))


async def _write(
    request: VaultRequest, old: ObjectState | None, settings: dict[str, Any]
) -> VaultResponse:
    """Write an issuer. An issuer of the provider `podpass` keeps its CA, or gets a new CA."""
    now = int(request.now)
    settings |= {"created": now if old is None else old.settings["created"], "updated": now}
    state = old or ObjectState(collection=request.collection, name=request.name)
    if settings["provider"].lower() == PROVIDER:
        ca = state.settings.get("ca")
        settings["ca"] = ca if ca is not None else await _create_ca(request, state)
    new = ObjectState(collection=state.collection, name=state.name, settings=settings)
    before = old or MissingObject(collection=state.collection, name=state.name)
    await request.store.put_states([new], request.audit, expected=before)
    return VaultResponse(body=_bundle(request, new))


async def _create_ca(request: VaultRequest, state: ObjectState) -> dict[str, str]:
    certificate, key = await request.generate(_make_ca, state.name, request.now)
    return {
        "certificate": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
        "key": request.store.seal_text(key_views.stored_value(key), state),
    }


async def _delete(request: VaultRequest) -> VaultResponse:
    state = await _find(request)
    await request.store.remove(request.collection, state.name, request.audit)
    return VaultResponse(body=_bundle(request, state))


def _operation(title: str, action: str, permission: str, run: Any, **more: Any) -> Operation:
    return Operation(
        title=title,
        action=f"{_ACTIONS}/{action}",
        permission=permission,
        run=run,
        kind=ISSUERS,
        **more,
    )


PATHS: Paths = {
    ("certificates", "issuers"): {
        "GET": _operation("list issuers", "read", "listissuers", _list),
    },
    ("certificates", "issuers", "*"): {
        "GET": _operation("get issuer", "read", "getissuers", _get),
        "PUT": _operation("set issuer", "write", "setissuers", _set, changes=True),
        "PATCH": _operation("update issuer", "write", "setissuers", _update, changes=True),
        "DELETE": _operation("delete issuer", "delete", "deleteissuers", _delete, changes=True),
    },
}
