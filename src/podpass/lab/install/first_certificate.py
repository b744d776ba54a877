"""Create the first certificate of podpass's webhook together with its registration.

Left alone, a webhook creates its CA, adds it to the registration, and waits until every API server must have
observed that change. Here each API server learns of the registration and of the CA at the same time, so there
is nothing to wait for. The webhook finds both, and rotates them later.
"""

import base64
from dataclasses import dataclass

from podpass import names
from podpass.admission.certificates.model import RotationPolicy, StoredCertificates
from podpass.admission.certificates.secret_codec import encode_secret
from podpass.admission.certificates.x509 import RsaCertificateIssuer
from podpass.lab.install.objects import Object


@dataclass(frozen=True, slots=True)
class FirstCertificate:
    """The data of the webhook's Secret, base64."""

    data: dict[str, str]

    def add_to(self, item: Object) -> Object:
        """Return the Secret with the certificate and its keys, or the registration with the CA."""
        if item["kind"] == "Secret":
            return {**item, "data": self.data}
        bundle = self.data[names.CA_CERTIFICATE]
        hooks = [
            {**each, "clientConfig": {**each["clientConfig"], "caBundle": bundle}}
            for each in item["webhooks"]
        ]
        return {**item, "webhooks": hooks}


def create_first_certificate(host: str, now: float) -> FirstCertificate:
    """Create a CA and a leaf for the webhook's host; this takes a third of a second.

    Units: `now` in seconds since the epoch.
    """
    issuer = RsaCertificateIssuer(host=host, now=now, policy=RotationPolicy())
    ca = issuer.create_ca()
    stored = StoredCertificates(current=ca, leaf=issuer.sign_leaf(ca))
    values = {name: value for name, value in encode_secret(stored).items() if value}
    return FirstCertificate(
        {name: base64.b64encode(each).decode() for name, each in values.items()}
    )
