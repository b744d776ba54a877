"""How a release was built: an in-toto statement with a SLSA provenance predicate.

It has no signature. The workflow of the release signs it, and the forge's own statement, without a key.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from source import Source

_TOOLS = ("build", "cyclonedx-bom", "hatchling", "pip")


@dataclass(frozen=True, slots=True)
class Builder:
    """Who builds: a URI of the workflow, and the URI of its repository; local builds have no repository."""

    uri: str = "urn:podpass:builder:local"
    repository: str | None = None


def statement(
    source: Source, builder: Builder, subjects: Mapping[str, str], materials: Sequence[str]
) -> dict[str, Any]:
    """Return the statement about files and their SHA-256.

    It has no time and no path, so two builds of a commit have the same statement.
    """
    commit: dict[str, Any] = {"name": "podpass", "digest": {"gitCommit": source.commit}}
    if builder.repository:
        commit["uri"] = builder.repository
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": value}} for name, value in subjects.items()
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:podpass:make-release:1",
                "externalParameters": {"version": source.version, "isTagged": source.is_tagged},
                "internalParameters": {
                    "machine": platform.machine(),
                    "python": platform.python_version(),
                    "sourceDateEpoch": source.epoch,
                },
                "resolvedDependencies": [commit, *({"uri": uri} for uri in materials)],
            },
            "runDetails": {
                "builder": {
                    "id": builder.uri,
                    "version": {name: metadata.version(name) for name in _TOOLS},
                }
            },
        },
    }
