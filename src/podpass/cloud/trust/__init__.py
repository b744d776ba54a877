"""Trust in containers: the CA bundles, and the webhook that gives them to pods."""
