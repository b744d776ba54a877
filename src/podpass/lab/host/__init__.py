"""Programs of this machine that use an instance or the cloud of a cluster."""
