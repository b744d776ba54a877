"""Sets up workload identities as a client of Microsoft Graph, Resource Manager and a cluster.

The same code works against Azure and against podpass: the endpoints of the cloud are a value, the sign-in is
a protocol. `plan` decides without I/O what to do from what exists; `workflow` reads, plans and performs.
"""
