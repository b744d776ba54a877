package main

import (
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const identityModule = "github.com/Azure/azure-sdk-for-go/sdk/azidentity"

// identity makes a credential of azidentity: default, chained or workload. Instance discovery would ask the
// real service whether it knows this one.
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
