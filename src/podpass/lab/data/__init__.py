"""The files of one instance: data directory, lock, CA, certificates, kubeconfigs and what programs read."""
