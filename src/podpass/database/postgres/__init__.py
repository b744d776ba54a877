"""PostgreSQL: statements, change notifications and the circuit breaker for an unavailable server."""
