"""The proxy that serves the Azure host names: it ends TLS, or opens a tunnel."""
