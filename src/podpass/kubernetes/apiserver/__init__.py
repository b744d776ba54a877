"""The embedded Kubernetes API: requests in, objects and watches out, webhooks called on the way."""
