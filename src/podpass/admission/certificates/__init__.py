"""The webhook's own certificates in a cluster: an authority and a leaf in one Secret, kept by every replica.

In: the Secret and the configurations, by the API. Out: a TLS context that API servers trust at any moment.
The private key is never written to disk. Next: `admission.app`, which is served with it.
"""

from podpass.admission.certificates.model import Plan
from podpass.admission.certificates.rotator import Rotation

__all__ = ["Plan", "Rotation"]
