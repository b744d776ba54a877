package main

import (
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const identityModule = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"

// identity returns a credential of azidentity: default, chained or workload. Instance discovery is disabled,
// because it asks the real service whether this authority is known.
func identity(style string, client *http.Client) azcore.TokenCredential {
	options := azcore.ClientOptions{Transport: client}
	workload := func() azcore.TokenCredential {
		made, err := azidentity.NewWorkloadIdentityCredential(
			&azidentity.WorkloadIdentityCredentialOptions{
				ClientOptions: options, DisableInstanceDiscovery: direct})
		must(err)
		return made
	}
	switch style {
	case "default":
		made, err := azidentity.NewDefaultAzureCredential(
			&azidentity.DefaultAzureCredentialOptions{
				ClientOptions: options, DisableInstanceDiscovery: direct})
		must(err)
		return made
	case "chained":
		desk, err := azidentity.NewAzureCLICredential(nil)
		must(err)
		made, err := azidentity.NewChainedTokenCredential(
			[]azcore.TokenCredential{workload(), desk}, nil)
		must(err)
		return made
	}
	return workload()
}
