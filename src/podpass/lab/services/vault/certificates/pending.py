"""The operation that creates a version of a certificate. Pure.

An operation of an issuer that signs is completed at once. One of the issuer `Unknown` is in progress until
the caller merges a certificate; until then, the certificate may have no version.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from podpass.lab.services.vault.certificates.policy import UNKNOWN

IN_PROGRESS, COMPLETED, CANCELLED, FAILED = "inProgress", "completed", "cancelled", "failed"
_MERGE = "Pending certificate created. Please Perform Merge to complete the request."
_WAIT = (
    "Pending certificate created. Certificate request is in progress. This may take some time based on the"
    " issuer provider. Please check again later."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingOperation:
    """An operation, as the settings of a certificate have it.

    `key` is the sealed private key, unless the operation is completed or deleted. `exportable` is the value
    in the policy when the key was created. `version` is the ID of the version that the operation creates,
    with `enabled`, `preserve_order` and `tags`. `error` is the reason of a failure. A deleted operation is
    not shown; a certificate without versions still uses its version ID.
    """

    request_id: str
    csr: str
    issuer: str
    status: str = COMPLETED
    version: str = ""
    created: int = 0
    key: str | None = None
    exportable: bool = True
    enabled: bool = True
    preserve_order: bool | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    cancellation_requested: bool = False
    error: str | None = None
    deleted: bool = False

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return an operation from the settings of its certificate."""
        return cls(**stored)

    def to_json(self) -> dict[str, Any]:
        """Return the operation for the settings of its certificate."""
        return asdict(self)

    @property
    def in_progress(self) -> bool:
        """Return whether the operation still waits for a certificate."""
        return self.status == IN_PROGRESS and not self.deleted

    @property
    def details(self) -> str | None:
        """Return the next step for the caller of an operation in progress."""
        if self.status != IN_PROGRESS:
            return None
        return _MERGE if self.issuer == UNKNOWN else _WAIT
