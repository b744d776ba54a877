package main

import (
	"context"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
)

const msalModule = "github.com/AzureAD/microsoft-authentication-library-for-go"

// app adapts an MSAL application to the credential interface of Azure's clients; MSAL has no vault client.
type app struct{ confidential.Client }

func (made app) GetToken(ctx context.Context, asked policy.TokenRequestOptions) (azcore.AccessToken, error) {
	answer, err := made.AcquireTokenSilent(ctx, asked.Scopes)
	if err != nil {
		answer, err = made.AcquireTokenByCredential(ctx, asked.Scopes)
	}
	return azcore.AccessToken{Token: answer.AccessToken, ExpiresOn: answer.ExpiresOn}, err
}

// msal returns an MSAL application that gets its assertion as a string or from a callback.
func msal(style string, client *http.Client) azcore.TokenCredential {
	first := assertion()
	credential := confidential.NewCredFromAssertionCallback(
		func(context.Context, confidential.AssertionRequestOptions) (string, error) {
			if style == "string" {
				return first, nil
			}
			return assertion(), nil
		})
	authority := os.Getenv("AZURE_AUTHORITY_HOST") + os.Getenv("AZURE_TENANT_ID")
	made, err := confidential.New(
		authority, os.Getenv("AZURE_CLIENT_ID"), credential, confidential.WithHTTPClient(client), confidential.WithInstanceDiscovery(!direct))
	must(err)
	return app{made}
}
