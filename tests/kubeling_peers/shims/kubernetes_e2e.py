"""Stands for kubernetes.e2e_test, which the source distribution of the Python client does not contain."""

import sys
from types import ModuleType
from typing import Any

from kubernetes import client, config


def get_e2e_configuration() -> Any:
    """Return the configuration of KUBECONFIG."""
    found = client.Configuration()
    config.load_kube_config(client_configuration=found)  # type: ignore[no-untyped-call]
    return found


package = sys.modules["kubernetes.e2e_test"] = ModuleType("kubernetes.e2e_test")
package.base = sys.modules[__name__]  # type: ignore[attr-defined]
