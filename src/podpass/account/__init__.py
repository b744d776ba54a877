"""Stage 1: parse the identity configuration of a pod from the annotations of the pod and its ServiceAccount.

In: the raw objects. Out: a `PodIdentityConfig`, or an error that names object, annotation and fix. Next:
`admission`.
"""
