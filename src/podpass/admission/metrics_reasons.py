"""Whoever counts the webhook's verdicts, and the words they are counted by."""

from typing import Protocol

REASONS = frozenset(
    {
        "account_not_found",
        "account_unreadable",
        "bad_annotation",
        "bad_review",
        "body_too_large",
        "fault",  # ours: the log has it under the correlation id that the user was told
        "malformed_pod",
        "mount_path_taken",
        "namespace_mismatch",
        "patch_too_large",
        "proxy_on_host_network",
        "too_much_at_once",
        "wrong_resource",
    }
)
"""Why a pod may not be created: the code of each error that can be behind it, and no other word."""

FAULT = "fault"


class Observe(Protocol):
    """Be told of each verdict, once; advice is none.

    Shapes:  `outcome` is "mutated", "unchanged", "refused" (by what the user wrote) or "failed" (by us or
             the API server); `reason` is one of REASONS behind the last two, else empty; `namespace` is the
             request's own word, empty where none could be read.
    Units:   `seconds` from when the whole request is there to its answer; 0 where it never was.
    """

    def __call__(self, outcome: str, reason: str, namespace: str, seconds: float) -> None: ...
