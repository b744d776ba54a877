"""Build the Kubernetes objects of podpass for installations without Helm.

In: some of the chart's values. Out: the objects that the chart renders from them, with the labels of
azure-workload-identity's static manifest, so that podpass can replace it in place. This package calls no
cluster.
"""

from podpass.manifests.policy import POLICY_KEYS as POLICY_KEYS
from podpass.manifests.policy import build_policy_objects
from podpass.manifests.values import ManifestValues
from podpass.manifests.webhook import build_webhook_objects

__all__ = ["POLICY_KEYS", "ManifestValues", "build_policy_objects", "build_webhook_objects"]
