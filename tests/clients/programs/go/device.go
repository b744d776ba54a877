package main

import (
	"context"
	"net/http"
	"os"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

// device signs a user in with a device code.
func device(clientID, scope string, client *http.Client) {
	authority := os.Getenv("AZURE_AUTHORITY_HOST") + os.Getenv("AZURE_TENANT_ID")
	made, err := public.New(clientID, public.WithAuthority(authority), public.WithHTTPClient(client))
	must(err)
	code, err := made.AcquireTokenByDeviceCode(context.Background(), []string{scope})
	must(err)
	say(map[string]string{"page": code.Result.VerificationURL, "code": code.Result.UserCode})
	answer, err := code.AuthenticationResult(context.Background())
	must(err)
	say(map[string]string{
		"user": answer.Account.PreferredUsername, "audience": audience(answer.AccessToken), "version": version(msalModule),
	})
}
