// The Azure provider of the Secrets Store CSI driver. Built into a cache outside this tree.
module podpass.dev/bench/peers/secrets_store_provider

go 1.24.0

require github.com/Azure/secrets-store-csi-driver-provider-azure v1.4.1
