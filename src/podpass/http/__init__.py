"""HTTP: `server.py` listens, `connection.py` parses, `fetcher.py` fetches from allowed addresses only."""
