"""Names that are derived as in azure-workload-identity, and their limits. Pure.

Source:  https://learn.microsoft.com/graph/api/resources/federatedidentitycredential and
         https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
"""

import base64
import hashlib
import re
import uuid
from collections.abc import Iterable

from podpass.directory import claims_expression
from podpass.directory.errors import InvalidExpression
from podpass.guids import is_guid

MAX_DISPLAY_NAME = 256
MAX_CREDENTIALS = 20
_READABLE_CHARS = 100
_HASH_CHARS = 16
_MAX_URL = 600
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_MAX_SUBDOMAIN = 253
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}")
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,119}")
_GROUP = re.compile(r"[\w().-]{0,89}[\w()-]")
_SCOPE = re.compile(r"(/[\w().@ -]+)+")
_ASSIGNMENT = re.compile(
    r"(?:/[\w().@ -]+)*/providers/Microsoft\.Authorization/roleAssignments/[\w-]+", re.IGNORECASE
)
_ASSIGNMENTS = uuid.UUID("6f5c2f1e-6d0b-4d3a-9d55-6f3b2c1a7e40")


def hash_issuer(issuer: str) -> str:
    """Return the padded base64url of the SHA-256 of an issuer."""
    return _hash(issuer)


def derive_application_name(namespace: str, account: str, issuer: str) -> str:
    """Return the display name of an application without `--aad-application-name`."""
    return f"{namespace}-{account}-{hash_issuer(issuer)}"


def derive_credential_name(namespace: str, account: str, issuer: str) -> str:
    """Return the name of a federated credential of an application, as azure-workload-identity does."""
    return _hash(f"{namespace}-{account}-{issuer}")


def derive_managed_credential_name(namespace: str, account: str, issuer: str) -> str:
    """Return the name of a federated credential of a managed identity.

    Resource Manager accepts 120 characters, and not the `=` that ends azure-workload-identity's names.
    """
    readable = f"{namespace}-{account}".replace(".", "-")[:_READABLE_CHARS]
    digest = hashlib.sha256(f"{namespace}-{account}-{issuer}".encode()).hexdigest()
    return f"{readable}-{digest[:_HASH_CHARS]}"


def choose_credential_name(namespace: str, account: str, issuer: str, taken: Iterable[str]) -> str:
    """Return a name for a further credential of an identity: that of the account, if it is free and valid.

    `az identity federated-credential create` replaces a credential that has the name already.
    """
    is_taken = account.lower() in {each.lower() for each in taken}
    if _CREDENTIAL.fullmatch(account) and not is_taken:
        return account
    return derive_managed_credential_name(namespace, account, issuer)


def derive_assignment_name(scope: str, role_id: str, principal_id: str) -> str:
    """Return the name of a role assignment: a repeated request creates no second one."""
    role = role_id.rpartition("/")[2]
    return str(uuid.uuid5(_ASSIGNMENTS, f"{scope}|{role}|{principal_id}".lower()))


def find_problem(field: str, value: str) -> str:
    """Return why a value cannot be used, such as `is longer than 63 characters`; empty if it can.

    `field` is one of namespace, account, issuer, expression, application, identity, group, scope, assignment.
    """
    return _CHECKS[field](value)


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _check_namespace(value: str) -> str:
    return "" if _LABEL.fullmatch(value) else "is not a valid namespace: at most 63 of a-z, 0-9, -"


def _check_account(value: str) -> str:
    if len(value) > _MAX_SUBDOMAIN:
        return f"is longer than {_MAX_SUBDOMAIN} characters"
    return "" if _SUBDOMAIN.fullmatch(value) else "is not a valid name: use a-z, 0-9, - and ."


def _check_issuer(value: str) -> str:
    if len(value) > _MAX_URL:
        return f"is longer than {_MAX_URL} characters"
    if not value.startswith("https://") or not value.isprintable() or " " in value:
        return "is not an https URL"
    return ""


def _check_expression(value: str) -> str:
    # What the issuer allows is checked by the directory, which has its operator's options.
    try:
        claims_expression.parse(value)
    except InvalidExpression as exc:
        return f"is not an expression: {exc.message}"
    return ""


def _check_application(value: str) -> str:
    if len(value) > MAX_DISPLAY_NAME:
        return f"is longer than {MAX_DISPLAY_NAME} characters"
    return "" if value.isprintable() else "contains control characters"


def _check_identity(value: str) -> str:
    return "" if _IDENTITY.fullmatch(value) else "needs 3 to 128 letters, digits, - or _"


def _check_group(value: str) -> str:
    return "" if _GROUP.fullmatch(value) else "is not a valid name of a resource group"


def _check_scope(value: str) -> str:
    return "" if _is_path(_SCOPE, value) else "is not a resource id, such as /subscriptions/ID"


def _check_assignment(value: str) -> str:
    if _is_path(_ASSIGNMENT, value) and is_guid(value.rpartition("/")[2]):
        return ""
    return (
        "is not the id of a role assignment:"
        " /subscriptions/.../providers/Microsoft.Authorization/roleAssignments/GUID"
    )


def _is_path(pattern: re.Pattern[str], value: str) -> bool:
    """Return whether a value is a resource id without `.` and `..`, which would change the path."""
    return pattern.fullmatch(value) is not None and not {".", ".."} & set(value.split("/"))


_CHECKS = {
    "namespace": _check_namespace,
    "account": _check_account,
    "issuer": _check_issuer,
    "expression": _check_expression,
    "application": _check_application,
    "identity": _check_identity,
    "group": _check_group,
    "scope": _check_scope,
    "assignment": _check_assignment,
}
