"""Controllers: each reconciles the objects of one kind with their desired state.

A controller has one method `reconcile(namespace, name)`, which returns the requeue delay in seconds or
None. The controller manager calls it after every change that may concern the object. It reads the
current state, never the change, so a missed call is repaired by the next. Decisions are in pure
modules; writes go through `client`.
"""
