"""Names of Azure in a cluster: the configuration of CoreDNS, and the resolver behind it."""
