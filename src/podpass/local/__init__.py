"""The local loop: cluster, runtime, gateway and the instance that holds them together."""
