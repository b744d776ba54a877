"""The commands that create or correct a federated credential, with real values quoted for a shell. Pure.

Reports print them as fixes. Names and claims come from directories and requests that others write.
"""

import json
import shlex
from dataclasses import dataclass

from podpass.directory import resource_ids
from podpass.directory.model import FederatedCredential
from podpass.provision.errors import sanitize


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialOwner:
    """The identity of a credential; `resource_id` is empty for an application."""

    name: str
    client_id: str
    resource_id: str


def create_credential(owner: CredentialOwner, credential: FederatedCredential) -> str:
    """Return the command that creates a credential with this name, issuer, subject and audience."""
    if owner.resource_id:
        arguments = _arguments(owner, credential)
        return (
            f"az identity federated-credential create --name {quote(credential.name)} {arguments}"
        )
    parameters = _parameters({"name": credential.name}, credential)
    return (
        f"az ad app federated-credential create --id {quote(owner.client_id)}"
        f" --parameters {parameters}"
    )


def update_credential(owner: CredentialOwner, credential: FederatedCredential) -> str:
    """Return the command that gives the credential of this name its issuer, subject and audience."""
    if owner.resource_id:
        arguments = _arguments(owner, credential)
        return (
            f"az identity federated-credential update --name {quote(credential.name)} {arguments}"
        )
    return (
        f"az ad app federated-credential update --id {quote(owner.client_id)}"
        f" --federated-credential-id {quote(credential.name)}"
        f" --parameters {_parameters({}, credential)}"
    )


def quote(text: str) -> str:
    """Quote a text of another system as one printable word for a shell."""
    return shlex.quote(sanitize(text))


def _arguments(owner: CredentialOwner, credential: FederatedCredential) -> str:
    located = resource_ids.group_of(owner.resource_id)
    return (
        f"--identity-name {quote(owner.name)}"
        f" --resource-group {quote(located[1]) if located else 'GROUP'}"
        f" --issuer {quote(credential.issuer)} --subject {quote(credential.subject)}"
        f" --audiences {quote(_audience(credential))}"
    )


def _parameters(members: dict[str, object], credential: FederatedCredential) -> str:
    members |= {
        "issuer": credential.issuer,
        "subject": credential.subject,
        "audiences": [_audience(credential)],
    }
    return shlex.quote(json.dumps(members))


def _audience(credential: FederatedCredential) -> str:
    return next(iter(credential.audiences), "")
