"""The lab: podpass on a laptop, in CI and in a test cluster. Production code does not import it.

`data` holds the files of an instance, `gateway` serves the Azure host names, `names` has the resolver and the
trust of pods, `cluster` is the cluster half, and `instance` starts all parts in one process. `install` puts
the cloud half into a cluster, `host` serves programs of this machine, and `tutorial` plays the guides.
"""
