"""ServiceAccount tokens: names, claims, the published documents, and the protocol of the signer.

Source: kubernetes/kubernetes pkg/serviceaccount.
"""
