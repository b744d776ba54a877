"""What the cloud half of a diagnosis reads: the issuer's documents, the directory, and the resource."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFacts:
    """What Entra, Resource Manager and the issuer returned about one workload."""
