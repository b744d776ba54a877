"""Sign, verify and seal: JOSE, envelope encryption, and the type that keeps a secret out of logs."""
