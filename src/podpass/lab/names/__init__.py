"""Names and trust in pods of any cluster: the resolver, and the CA that a webhook injects."""
