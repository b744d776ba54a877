"""Keys of a vault: RSA and EC key pairs that never leave it, and the cryptographic operations with them."""
