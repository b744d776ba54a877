// Read the secret and get a Graph token: PACKAGE (identity|msal) STYLE SCOPE. Sign a user in: device CLIENT SCOPE.
package main

import (
	"context"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

func made(library, style string, client *http.Client) (azcore.TokenCredential, string) {
	if library == "msal" {
		return msal(style, client), version(msalModule)
	}
	return identity(style, client), version(identityModule)
}

func audienceFor(credential azcore.TokenCredential, scope string) string {
	token, err := credential.GetToken(
		context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
	must(err)
	return audience(token.Token)
}

func secret(credential azcore.TokenCredential, client *http.Client) string {
	if direct {
		return ""
	}
	secrets, err := azsecrets.NewClient(vault, credential,
		&azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: client}})
	must(err)
	answer, err := secrets.GetSecret(context.Background(), "greeting", "", nil)
	must(err)
	return *answer.Value
}

// read reads the secret and gets the tokens; it returns the credential for the rotation test.
func read(library, style, scope string, client *http.Client) azcore.TokenCredential {
	credential, version := made(library, style, client)
	say(map[string]string{
		"secret": secret(credential, client), "audience": audienceFor(credential, scope), "version": version,
	})
	return credential
}

func main() {
	if os.Args[1] == "device" {
		device(os.Args[2], os.Args[3], http.DefaultClient)
		return
	}
	read(os.Args[1], os.Args[2], os.Args[3], http.DefaultClient)
}
