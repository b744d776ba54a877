"""HTTP server, TLS, connection limits, and a client that connects only to allowed addresses."""
