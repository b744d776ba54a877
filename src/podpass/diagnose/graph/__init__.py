"""Who can become which identity, and what each identity reaches: accounts, credentials, roles, resources.

Snapshots are read from the cluster, the directory or Azure. `graph` computes the edges from them without I/O;
`findings` names what is unused, too wide or cannot work.
"""
