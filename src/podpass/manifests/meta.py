"""Names and labels that the objects share."""

from typing import Any

from podpass import __version__

Object = dict[str, Any]

CONFIG = "azure-wi-webhook-config"
DEPLOYMENT = "azure-wi-webhook-controller-manager"

# The selector of the reference's static manifest; the selector of a Deployment is immutable.
SELECTOR = {"azure-workload-identity.io/system": "true"}
LABELS = {**SELECTOR, "app.kubernetes.io/name": "podpass", "app.kubernetes.io/version": __version__}
