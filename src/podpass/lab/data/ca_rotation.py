"""Replace the CA of an instance; after a crash at any moment, the next start completes the rotation.

The new CA is written into one file first. From then on the rotation only goes forward: each later step can be
repeated, and the file is deleted when all steps are done.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from podpass.clock import Clock, system
from podpass.crypto.x509 import encode_key, encode_pem
from podpass.files import remove, write_private
from podpass.lab.data import ca
from podpass.lab.data.ca import InstanceCA
from podpass.lab.data.datadir import DataDir, DataDirError

_log = logging.getLogger(__name__)

_BOUNDARY = b"-----BEGIN CERTIFICATE-----"


def begin(data_dir: DataDir, clock: Clock = system) -> InstanceCA:
    """Create the new CA, or return that of an interrupted rotation.

    Raises DataDirError if the CA is damaged or not valid at this time.
    """
    if (pending := read_pending(data_dir)) is not None:
        return pending
    now = datetime.fromtimestamp(clock(), tz=UTC)
    old, new = ca.load(data_dir, now), ca.build(data_dir, now)
    new = replace(new, chain=ca.cross_sign(new, old, now))
    content = encode_key(new.key) + encode_pem(new.certificate) + new.chain
    write_private(_pending(data_dir), content)
    subject = new.certificate.subject.rfc4514_string()
    _log.info("ca_rotation_started", extra={"subject": subject})
    return new


def read_pending(data_dir: DataDir) -> InstanceCA | None:
    """Return the CA of a rotation that is not complete. Raises DataDirError if the file is damaged."""
    path = _pending(data_dir)
    try:
        key, _, rest = path.read_bytes().partition(_BOUNDARY)
        certificate, _, chain = rest.partition(_BOUNDARY)
        found = x509.load_pem_x509_certificate(_BOUNDARY + certificate)
        return InstanceCA(found, ca.parse_key(key), _BOUNDARY + chain)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as exc:
        raise DataDirError(
            f"{path} is damaged: a rotation of the certificates cannot be completed",
            hint=f"remove the folder {path.parent}; the next `podpass up` creates a new CA",
        ) from exc


def issue_leaf(data_dir: DataDir, new: InstanceCA, clock: Clock = system) -> None:
    """Issue the certificate of the servers with the new CA; programs that trust either CA accept it."""
    ca.ensure_leaf(data_dir, new, datetime.fromtimestamp(clock(), tz=UTC))


def resume(data_dir: DataDir) -> None:
    """Make the CA of an interrupted rotation the CA of the instance, if there is one.

    The caller issues the certificates, and then calls `complete`.

    Raises DataDirError if the file is damaged.
    """
    if (pending := read_pending(data_dir)) is not None:
        store(data_dir, pending)
        _log.warning("ca_rotation_resumed")


def store(data_dir: DataDir, new: InstanceCA) -> None:
    """Make the new CA the CA of the instance; its certificates are issued by `ca.ensure_certificates`."""
    write_private(data_dir.replaced_ca_chain, new.chain)
    ca.store(data_dir, new)


def complete(data_dir: DataDir) -> None:
    """End the rotation."""
    if _pending(data_dir).exists():
        remove(_pending(data_dir))
        _log.info("ca_rotation_completed")


def _pending(data_dir: DataDir) -> Path:
    return data_dir.path("ca", "next.pem")
