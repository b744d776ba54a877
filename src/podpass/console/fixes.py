"""What a refusal means, and the command that fixes it. Pure; a command is only shown, never run."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass import names
from podpass.console.timeline import account_of
from podpass.diagnose.explain.hop import explain_hop
from podpass.diagnose.trace.hop import Hop
from podpass.directory.model import FederatedCredential
from podpass.provision.credential_commands import CredentialOwner, create_credential

Row = Mapping[str, Any]
_NUMBER = re.compile(r"AADSTS([0-9]{4,8})")
# The issuer, the subject or the audience of the assertion has no federated credential.
_NO_CREDENTIAL = frozenset({70021, 700211, 700212, 700213})
_UNKNOWN_CLIENT = frozenset({700016})
_VAULT_ROLE = "Key Vault Secrets User"
_FORBIDDEN = ("Forbidden", "ForbiddenByRbac", "forbidden")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """The explanation of a refusal: what the stage said, the cause, the resolution, a command."""

    code: str
    says: str
    cause: str
    resolution: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownObjects:
    """Identities by client ID and vaults by name, to fill commands with real values; names by GUID."""

    identities: Mapping[str, Row] = field(default_factory=dict)
    vaults: Mapping[str, Row] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def explain_refusal(hop: Hop, known: KnownObjects) -> Fix:
    """Explain a refused hop."""
    found = explain_hop(hop)
    number = _NUMBER.search(hop.code)
    return Fix(
        code=hop.code,
        says=found.cause if found else hop.cause,
        cause=found.meaning if found else "",
        resolution=found.fix if found else "",
        command=_command(hop, int(number[1]) if number else 0, known),
    )


def _command(hop: Hop, number: int, known: KnownObjects) -> str:
    if number in _NO_CREDENTIAL:
        return _create_credential(hop, known)
    if number in _UNKNOWN_CLIENT:
        return _annotate_account(hop)
    if number:
        return _join("podpass", "explain", f"AADSTS{number}")
    if hop.stage == "resource" and hop.fact("vault"):
        return _assign_role(hop, known)
    if (account := account_of(hop)) is not None and hop.stage in ("account", "admission"):
        return _join("kubectl", "describe", "serviceaccount", account[1], "-n", account[0])
    return ""


def _create_credential(hop: Hop, known: KnownObjects) -> str:
    """Return the command that makes the identity trust the subject of the assertion."""
    subject, issuer = hop.fact("sub"), hop.fact("iss")
    name = re.sub(r"[^A-Za-z0-9]+", "-", subject.rpartition("serviceaccount:")[2]).strip("-")
    identity = known.identities.get(hop.fact("client_id"), {})
    owner = CredentialOwner(
        name=str(identity.get("name") or ""),
        client_id=hop.fact("client_id"),
        resource_id=str(identity.get("resource_id") or ""),
    )
    credential = FederatedCredential(
        name=name or "credential",
        issuer=issuer,
        subject=subject,
        audiences=(names.EXCHANGE_AUDIENCE,),
    )
    return create_credential(owner, credential)


def _annotate_account(hop: Hop) -> str:
    namespace, name = account_of(hop) or ("NAMESPACE", "SERVICEACCOUNT")
    annotation = f"{names.CLIENT_ID}=CLIENT_ID"
    return _join(
        "kubectl", "annotate", "serviceaccount", name, "-n", namespace, annotation, "--overwrite"
    )


def _assign_role(hop: Hop, known: KnownObjects) -> str:
    """Return the command that gives the identity a role at the vault."""
    if hop.code not in _FORBIDDEN:
        return _join("podpass", "audit", "--target", hop.fact("vault"))
    identity = known.identities.get(hop.fact("client_id"), {})
    vault = known.vaults.get(hop.fact("vault"), {})
    return _join(
        *("az", "role", "assignment", "create", "--role", _VAULT_ROLE),
        *("--assignee-object-id", str(identity.get("principal_id") or "PRINCIPAL_ID")),
        *("--assignee-principal-type", "ServicePrincipal"),
        *("--scope", str(vault.get("resource_id") or "VAULT_RESOURCE_ID")),
    )


def _join(*words: str) -> str:
    """Quote each word for a shell: values come from requests."""
    return " ".join(shlex.quote(word) for word in words)
