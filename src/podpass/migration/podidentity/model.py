"""Data types of the conversion: bindings, workloads and generated files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass.errors import Error

Object = dict[str, Any]

GROUP = "aadpodidentity.k8s.io"
BINDING_LABEL = "aadpodidbinding"


class UnsupportedWorkload(Error):
    """A workload cannot be converted."""

    code = "unsupported_workload"
    hint = "convert this workload by hand, then remove the label aadpodidbinding from its pods"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """Options of a run.

    Units: `token_seconds` in seconds.
    """

    namespace: str
    output_dir: Path
    proxy_port: int = 8000
    token_seconds: int = 3600
    tenant_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundIdentity:
    """The managed identity that pods with a selector use.

    `others` are the client ids of further bindings with the same selector.
    """

    selector: str
    client_id: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The top-level owner of pods with a binding, or a pod without owner."""

    body: Object
    identity: BoundIdentity

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedFile:
    """A file to write; `name` has no folder."""

    name: str
    text: str
