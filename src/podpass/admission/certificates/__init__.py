"""Rotate the webhook's CA and serving certificate in a cluster; every replica takes part.

In: one Secret and the webhook configurations, through the API server. Out: a TLS context whose certificate
every API server trusts. The private keys are never written to disk. Next: `admission.handler`, served with
it.
"""

from podpass.admission.certificates.model import RotationPolicy
from podpass.admission.certificates.rotator import CertificateRotator

__all__ = ["CertificateRotator", "RotationPolicy"]
