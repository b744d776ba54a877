"""Read the cloud half of a diagnosis: the issuer's documents, the directory and the resource."""

from podpass.doctor.cloud_model import CloudFacts
from podpass.doctor.cluster_model import ClusterFacts


async def read_cloud_facts(cluster: ClusterFacts) -> CloudFacts:
    """Read what Entra and the issuer say about the identity of a workload."""
    del cluster
    return CloudFacts()
