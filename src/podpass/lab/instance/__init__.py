"""One process with all parts: the cloud half alone, or with a cluster."""
