"""Interface for counting admission responses, and the closed set of reasons that it counts."""

from typing import Protocol

REASON_LABELS = frozenset(
    {
        "account_not_found",
        "account_unreadable",
        "bad_annotation",
        "bad_review",
        "body_too_large",
        "env_mode_unavailable",
        "internal_error",  # the log has the cause under the correlation ID in the message
        "malformed_pod",
        "mount_path_taken",
        "namespace_mismatch",
        "patch_too_large",
        "proxy_on_host_network",
        "memory_budget_exhausted",
        "wrong_resource",
    }
)
"""Every reason why a pod is denied: the code of the error."""

INTERNAL_ERROR = "internal_error"


class MetricsRecorder(Protocol):
    """Records each admission response, except those of the entry that only warns.

    `outcome` is "mutated", "unchanged", "refused" (the user must fix the pod) or "failed" (an error of
    podpass or the API server). `reason` is one of REASON_LABELS for the last two, otherwise empty.
    `namespace` is that of the request, or empty if the request is unreadable. Units: `seconds` from the
    arrival of the complete request to the response; 0 if it never arrived.
    """

    def __call__(self, outcome: str, reason: str, namespace: str, seconds: float) -> None: ...
