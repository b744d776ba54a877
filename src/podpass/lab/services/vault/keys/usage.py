"""Which operations a key may be used for now. Pure.

The window of a key limits what protects new data. What was protected before stays readable and verifiable.

Source: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#date-time-controlled-operations
"""

from collections.abc import Collection

from podpass.lab.services.vault.errors import VaultError

_PROTECTING = frozenset({"encrypt", "sign", "wrapKey"})


class KeyUseForbidden(VaultError):
    """The attributes of a key forbid an operation with it."""

    code = "key_use_forbidden"
    wire_code = "Forbidden"
    status = 403

    def __init__(self, inner_code: str, message: str) -> None:
        super().__init__(message)
        self.inner_code = inner_code


def check_use(
    operation: str,
    *,
    permitted: Collection[str],
    enabled: bool,
    not_before: int | None,
    expires: int | None,
    now: float,
) -> None:
    """Check that a key may be used for an operation now. Raises KeyUseForbidden."""
    if not enabled:
        raise KeyUseForbidden(
            "KeyDisabled", f"Operation {operation} is not allowed on a disabled key."
        )
    if operation not in permitted:
        raise KeyUseForbidden(
            "KeyOperationForbidden", f"Operation {operation} is not permitted on this key."
        )
    if operation not in _PROTECTING:
        return
    if not_before is not None and now < not_before:
        raise KeyUseForbidden(
            "KeyNotYetValid",
            f"Operation {operation} is not allowed on a key that is not yet valid.",
        )
    if expires is not None and now >= expires:
        raise KeyUseForbidden(
            "KeyExpired", f"Operation {operation} is not allowed on an expired key."
        )
