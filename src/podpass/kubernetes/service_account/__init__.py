"""ServiceAccount tokens: names, claims, published documents, and the signer that the API server is given.

Source: kubernetes/kubernetes pkg/serviceaccount.
"""
