"""The checks of the cloud half: issuer, directory, exchange and resource. Pure."""

from podpass.diagnose.doctor import (
    client_id_checks,
    directory_checks,
    exchange_checks,
    issuer_checks,
    resource_checks,
)
from podpass.diagnose.doctor.model import DoctorCheck

CHECKS: tuple[DoctorCheck, ...] = (
    *issuer_checks.CHECKS,
    *client_id_checks.IDENTITY,
    *directory_checks.CHECKS,
    *exchange_checks.CHECKS,
    *resource_checks.CHECKS,
)
