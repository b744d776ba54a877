// Write and read a blob of the storage account ACCOUNT: prints a result or a refusal.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
)

func main() {
	result, err := use("https://" + os.Args[1] + ".blob.core.windows.net")
	said := map[string]any{"result": result}
	if err != nil {
		said = map[string]any{"text": err.Error()}
		var refused *azcore.ResponseError
		if errors.As(err, &refused) {
			said["refused"], said["code"] = refused.StatusCode, refused.ErrorCode
		}
	}
	text, _ := json.Marshal(said)
	fmt.Println(string(text))
}

func use(url string) (string, error) {
	ctx := context.Background()
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return "", err
	}
	client, err := azblob.NewClient(url, credential, nil)
	if err != nil {
		return "", err
	}
	_, err = client.CreateContainer(ctx, "golang", nil)
	if err != nil && !bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return "", err
	}
	if _, err = client.UploadBuffer(ctx, "golang", "hello.txt", []byte("hello"), nil); err != nil {
		return "", err
	}
	answer, err := client.DownloadStream(ctx, "golang", "hello.txt", nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return string(content), err
}
