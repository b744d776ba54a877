"""The log of a workflow on stderr: for users, or for scripts in the form of azure-workload-identity."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from podpass.cli.output import escape_unprintable, print_message

if TYPE_CHECKING:
    from podpass.provision.model import StepEvent

# For kind and action: the text, and azure-workload-identity's text if it is different.
_TEXTS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("application", "create"): ("created an AAD application", ""),
    ("application", "keep"): ("the AAD application exists", "created an AAD application"),
    ("application", "delete"): ("deleted aad application", ""),
    ("application", "absent"): ("aad application not found", ""),
    ("service principal", "create"): ("created service principal", ""),
    ("service principal", "keep"): ("the service principal exists", "created service principal"),
    ("managed identity", "create"): ("created a managed identity", ""),
    ("managed identity", "keep"): ("the managed identity exists", ""),
    ("managed identity", "delete"): ("deleted managed identity", ""),
    ("managed identity", "absent"): ("managed identity not found", ""),
    ("ServiceAccount", "create"): ("created kubernetes service account", ""),
    ("ServiceAccount", "update"): (
        "updated kubernetes service account",
        "created kubernetes service account",
    ),
    ("ServiceAccount", "keep"): (
        "the kubernetes service account is annotated",
        "created kubernetes service account",
    ),
    ("ServiceAccount", "delete"): ("deleted service account", ""),
    ("ServiceAccount", "absent"): ("service account not found", ""),
    ("federated credential", "create"): ("added federated credential", ""),
    ("federated credential", "keep"): ("federated credential has been previously created", ""),
    ("federated credential", "delete"): ("deleted federated identity credential", ""),
    ("federated credential", "absent"): ("federated identity credential not found", ""),
    ("role assignment", "create"): ("created role assignment", ""),
    ("role assignment", "keep"): ("Role assignment already exists", ""),
    ("role assignment", "delete"): ("deleted role assignment", ""),
    ("role assignment", "absent"): ("role assignment not found", ""),
}


class PhaseLog:
    """Prints finished steps and messages."""

    def __init__(self, *, as_reference: bool) -> None:
        self._as_reference = as_reference

    def finished(self, event: "StepEvent") -> None:
        """Print a finished step with its values."""
        step = event.step
        own, theirs = _TEXTS[step.kind, step.action]
        fields = {key: value for key, value in event.fields.items() if value}
        if not self._as_reference:
            values = " ".join(f"{key}={escape_unprintable(value)}" for key, value in fields.items())
            note = f" ({step.note})" if step.note else ""
            print_message(f"{step.phase}: {own}{note}: {values}")
            return
        if step.note:
            fields["note"] = step.note
        self._print(theirs or own, {"logger": step.phase, **fields})

    def skipped(self, phase: str) -> None:
        """Print that a phase is skipped."""
        if self._as_reference:
            self._print("skipping phase", {"logger": phase})
        else:
            print_message(f"{phase}: skipped")

    def report(self, text: str) -> None:
        """Print a message, such as the reason of a wait."""
        if self._as_reference:
            self._print(text, {})
        else:
            print_message(escape_unprintable(text))

    def _print(self, text: str, fields: Mapping[str, str]) -> None:
        now = datetime.now(tz=UTC).astimezone()
        values = "".join(
            f" {key}={json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()
        )
        print_message(
            f"I{now:%m%d %H:%M:%S.%f} {os.getpid():>7} podpass] {json.dumps(text)}{values}"
        )
