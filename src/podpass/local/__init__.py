"""The local loop: one instance of podpass on one machine, with its own gateway and CA."""
