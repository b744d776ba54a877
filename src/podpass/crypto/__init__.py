"""JOSE (`jose.py`), envelope encryption, certificates (`x509.py`), and `Secret`, which no log shows."""
