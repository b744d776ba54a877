"""Read a seed file and apply it to the directory and the vaults, once and idempotently."""
