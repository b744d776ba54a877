"""Two RSA keys that test modules share: each worker imports all modules, and creating a key takes 90 ms."""

from podpass.crypto import jose

KEY, OTHER_KEY = jose.generate_rsa(), jose.generate_rsa()
