// SPDX-License-Identifier: Apache-2.0

// Create, change and delete an application with msgraph-sdk-go, with the identity of a workload; argument: a name.
// It prints what it saw as JSON, with the number of compressed and of refused requests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	kiotaauth "github.com/microsoft/kiota-authentication-azure-go"
	kiotahttp "github.com/microsoft/kiota-http-go"
	msgraphsdk "github.com/microsoftgraph/msgraph-sdk-go"
	"github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
)

// counter counts the requests that the SDK sends.
type counter struct{ compressed, refused int }

func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Header.Get("Content-Encoding") == "gzip" {
		c.compressed++
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusUnsupportedMediaType {
		c.refused++
	}
	return response, err
}

func newClient(sent http.RoundTripper) (*msgraphsdk.GraphServiceClient, error) {
	credential, err := azidentity.NewWorkloadIdentityCredential(nil)
	if err != nil {
		return nil, err
	}
	auth, err := kiotaauth.NewAzureIdentityAuthenticationProviderWithScopes(
		credential, []string{"https://graph.microsoft.com/.default"})
	if err != nil {
		return nil, err
	}
	options := msgraphsdk.GetDefaultClientOptions()
	middlewares := msgraphgocore.GetDefaultMiddlewaresWithOptions(&options)
	client := &http.Client{Transport: kiotahttp.NewCustomTransportWithParentTransport(sent, middlewares...)}
	adapter, err := msgraphsdk.NewGraphRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		auth, nil, nil, client)
	if err != nil {
		return nil, err
	}
	return msgraphsdk.NewGraphServiceClient(adapter), nil
}

func run(name string) (map[string]any, error) {
	ctx, sent := context.Background(), &counter{}
	client, err := newClient(sent)
	if err != nil {
		return nil, err
	}
	wanted := models.NewApplication()
	wanted.SetDisplayName(&name)
	made, err := client.Applications().Post(ctx, wanted, nil)
	if err != nil {
		return nil, err
	}
	one := client.Applications().ByApplicationId(*made.GetId())

	changed, renamed := models.NewApplication(), name+"-2"
	changed.SetDisplayName(&renamed)
	if _, err := one.Patch(ctx, changed, nil); err != nil {
		return nil, err
	}
	shown, err := one.Get(ctx, nil)
	if err != nil {
		return nil, err
	}

	trust := models.NewFederatedIdentityCredential()
	trustName, issuer, subject := "padded=", "https://issuer.example", "repo:a"
	trust.SetName(&trustName)
	trust.SetIssuer(&issuer)
	trust.SetSubject(&subject)
	trust.SetAudiences([]string{"api://AzureADTokenExchange"})
	trusted, err := one.FederatedIdentityCredentials().Post(ctx, trust, nil)
	if err != nil {
		return nil, err
	}
	if err := one.Delete(ctx, nil); err != nil {
		return nil, err
	}
	return map[string]any{
		"made":       *made.GetDisplayName(),
		"changed":    *shown.GetDisplayName(),
		"trust":      *trusted.GetName(),
		"compressed": sent.compressed,
		"refused":    sent.refused,
	}, nil
}

func main() {
	facts, err := run(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(facts); err != nil {
		os.Exit(1)
	}
}
