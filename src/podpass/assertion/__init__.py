"""Stage 3: the issuer of ServiceAccount tokens: its signing keys, and the host that publishes them.

In: the claims of a token, which the API server decides. Out: a signed JWT; a discovery document and a JWKS.
Claims and documents are those of any Kubernetes: `kubernetes.service_account`.
Source: kube-apiserver's TokenRequest, OpenID Connect Discovery 1.0. Next: `directory`.
"""
