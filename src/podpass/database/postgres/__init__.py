"""The PostgreSQL backend: steps in threads, single statements in the event loop, notifications by LISTEN."""
