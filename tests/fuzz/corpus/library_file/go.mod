go.mod
module x
require (
	github.com/Azure/azure-sdk-for-go/sdk/azidentity v1.2.2 // indirect
)
