"""Running pods that differ from what admission would give them now, and the restart of their controllers.

`comparison` and `plan` decide without I/O; `reader` and `rollout_restart` use the Kubernetes API.
"""
