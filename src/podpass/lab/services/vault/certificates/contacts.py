"""The contacts of a vault. Azure mails them when a certificate expires; podpass sends no mail.

Source: https://learn.microsoft.com/rest/api/keyvault/certificates/set-certificate-contacts
"""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass.lab.services.vault import wire
from podpass.lab.services.vault.certificates.errors import ContactsNotFound
from podpass.lab.services.vault.certificates.members import as_list, as_object, text
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.model import CONTACTS, TYPE, ObjectState, vault_of
from podpass.lab.services.vault.request import Operation, Paths, VaultRequest, VaultResponse
from podpass.lab.services.vault.store import VaultStore

_NAME = "contacts"
_MAX_CONTACTS = 100


async def count(store: VaultStore, collection: str) -> int:
    """Return the number of contacts of a collection's vault."""
    state = await store.find(f"{vault_of(collection)}{CONTACTS.suffix}", _NAME)
    return 0 if state is None else len(state.settings["contacts"])


def _parse(given: Mapping[str, Any]) -> Sequence[dict[str, str]]:
    found = as_list(given.get("contacts"), "contacts", _MAX_CONTACTS)
    contacts = [
        {
            name: text(contact, name, "")
            for name in ("email", "name", "phone")
            if contact.get(name) is not None
        }
        for contact in (as_object(each, "contacts") for each in found)
    ]
    if not all(each.get("email") for each in contacts):
        raise BadParameter("Each contact must have an email address.")
    return contacts


def _shown(request: VaultRequest, state: ObjectState) -> VaultResponse:
    body = {
        "id": f"{request.base}/{CONTACTS.path}",
        "contacts": state.settings["contacts"],
    }
    return VaultResponse(body=body)


async def _find(request: VaultRequest) -> ObjectState:
    state = await request.store.find(request.collection, _NAME)
    if state is None:
        raise ContactsNotFound("Contacts not found")
    return state


async def _get(request: VaultRequest) -> VaultResponse:
    return _shown(request, await _find(request))


async def _set(request: VaultRequest) -> VaultResponse:
    contacts = _parse(wire.parse_object(request.body))
    state = ObjectState(collection=request.collection, name=_NAME, settings={"contacts": contacts})
    await request.store.put_states([state], request.audit)
    return _shown(request, state)


async def _delete(request: VaultRequest) -> VaultResponse:
    state = await _find(request)
    await request.store.remove(request.collection, _NAME, request.audit)
    return _shown(request, state)


def _operation(title: str, run: Any, **more: Any) -> Operation:
    return Operation(
        title=title,
        # Azure uses this action for reads of contacts too.
        action=f"{TYPE}/certificatecontacts/write",
        permission="managecontacts",
        run=run,
        kind=CONTACTS,
        **more,
    )


PATHS: Paths = {
    ("certificates", "contacts"): {
        "GET": _operation("get contacts", _get),
        "PUT": _operation("set contacts", _set, changes=True),
        "DELETE": _operation("delete contacts", _delete, changes=True),
    },
}
