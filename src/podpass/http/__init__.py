"""Listen and fetch: HTTP server, TLS, connection limits, and a client that fetches allowed addresses only."""
