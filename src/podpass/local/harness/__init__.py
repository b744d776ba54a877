"""What an instance offers to tests of other projects: reset, faults, a movable clock, keys for wrong tokens.

Only an instance that the pytest plugin has started has a harness. Its requests are part of the control API,
which needs the owner's token; production servers have neither.
"""
