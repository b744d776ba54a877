"""Converts the objects of aad-pod-identity to manifests for workload identity.

In: the objects of one namespace. Out: two files for each workload, its ServiceAccount and its manifest.
"""

from podpass.migration.podidentity.detect import DetectResult, detect
from podpass.migration.podidentity.model import DetectOptions

__all__ = ["DetectOptions", "DetectResult", "detect"]
