"""Numbers, each as a ratio to a peer or a physical limit measured in the same run: `make bench`."""
