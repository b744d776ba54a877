"""What podpass is in a cluster, as plain objects, for people without Helm.

In: a handful of the chart's values. Out: the objects that the chart renders from them, under the labels of
the reference's static manifest, so that one goes over the other in place. Nothing here talks to a cluster.
"""

from podpass.manifests.policy import KEYS as POLICY_KEYS
from podpass.manifests.policy import policy
from podpass.manifests.values import Values
from podpass.manifests.webhook import webhook

__all__ = ["POLICY_KEYS", "Values", "policy", "webhook"]
