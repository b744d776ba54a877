"""The external signer of ServiceAccount tokens (KEP-740): a gRPC service on a unix socket."""
