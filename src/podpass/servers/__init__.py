"""Processes of a cluster, one package each: `authority`, `issuer`, `proxy`, `signer`, `webhook`."""
