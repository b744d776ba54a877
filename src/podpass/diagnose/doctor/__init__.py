"""Finds the first problem on the path of a workload's tokens, from its ServiceAccount to the resource.

`cluster_facts` and `cloud_facts` read; they change nothing. `checks` decides without I/O from what was read,
in the order of the stages. What could not be read is reported as such, never guessed.
"""
