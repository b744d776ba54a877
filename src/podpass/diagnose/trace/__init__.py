"""The hops of tokens, as podpass logs them: read them from a log, and assign each to its pod.

`hop` parses a line, `reader` reads a log in steps and follows it, `assignment` finds the pod of each hop.
"""
