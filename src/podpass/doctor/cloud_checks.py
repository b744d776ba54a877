"""The checks of the cloud half: issuer, directory, exchange and resource. Pure."""

from podpass.doctor.check import DoctorCheck

CHECKS: tuple[DoctorCheck, ...] = ()
