"""The documentation's sample images: small programs of our own, one a language, built on this machine."""
