"""The cloud half of the loop: directory, token service, vaults and management APIs behind one gateway.

`podpass cloud serve` runs it alone, for test clusters and plain containers. `podpass up` adds the cluster
half.
"""
