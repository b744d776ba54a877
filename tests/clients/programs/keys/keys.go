// Use every operation on keys with the released client: VAULT.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(ok bool, what string) {
	if !ok {
		panic(what)
	}
}

func main() {
	ctx := context.Background()
	credential := must(azidentity.NewDefaultAzureCredential(nil))
	client := must(azkeys.NewClient("https://"+os.Args[1]+".vault.azure.net", credential, nil))
	digest := sha256.Sum256([]byte("message"))

	// The client has no local cryptography: this verifies by Go's own.
	made := must(client.CreateKey(ctx, "go-ec", azkeys.CreateKeyParameters{
		Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP256)}, nil))
	signed := must(client.Sign(ctx, "go-ec", "", azkeys.SignParameters{
		Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Value: digest[:]}, nil))
	public := ecdsa.PublicKey{Curve: elliptic.P256(),
		X: new(big.Int).SetBytes(made.Key.X), Y: new(big.Int).SetBytes(made.Key.Y)}
	r, s := new(big.Int).SetBytes(signed.Result[:32]), new(big.Int).SetBytes(signed.Result[32:])
	check(ecdsa.Verify(&public, digest[:], r, s), "signature")

	rsa := must(client.CreateKey(ctx, "go", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil))
	for _, algorithm := range []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmRS256, azkeys.SignatureAlgorithmPS256} {
		signed := must(client.Sign(ctx, "go", rsa.Key.KID.Version(), azkeys.SignParameters{
			Algorithm: &algorithm, Value: digest[:]}, nil))
		verified := must(client.Verify(ctx, "go", "", azkeys.VerifyParameters{
			Algorithm: &algorithm, Digest: digest[:], Signature: signed.Result}, nil))
		check(*verified.Value, "verify")
	}
	for _, algorithm := range []azkeys.EncryptionAlgorithm{
		azkeys.EncryptionAlgorithmRSA15, azkeys.EncryptionAlgorithmRSAOAEP, azkeys.EncryptionAlgorithmRSAOAEP256} {
		parameters := azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: []byte("plain")}
		parameters.Value = must(client.WrapKey(ctx, "go", "", parameters, nil)).Result
		opened := must(client.UnwrapKey(ctx, "go", "", parameters, nil)).Result
		check(bytes.Equal(opened, []byte("plain")), "unwrap")
	}

	policy := must(client.UpdateKeyRotationPolicy(ctx, "go", azkeys.KeyRotationPolicy{
		Attributes: &azkeys.KeyRotationPolicyAttributes{ExpiryTime: to.Ptr("P1Y")},
		LifetimeActions: []*azkeys.LifetimeAction{{
			Action:  &azkeys.LifetimeActionType{Type: to.Ptr(azkeys.KeyRotationPolicyActionRotate)},
			Trigger: &azkeys.LifetimeActionTrigger{TimeAfterCreate: to.Ptr("P2M")}}}}, nil))
	check(*policy.Attributes.ExpiryTime == "P1Y", "policy")
	rotated := must(client.RotateKey(ctx, "go", nil))
	check(*rotated.Key.KID != *rsa.Key.KID, "rotation")
	backup := must(client.BackupKey(ctx, "go", nil))
	must(client.DeleteKey(ctx, "go", nil))
	must(client.PurgeDeletedKey(ctx, "go", nil))
	restored := must(client.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil))
	check(*restored.Key.KID == *rotated.Key.KID, "restore")

	must(client.UpdateKey(ctx, "go", "", azkeys.UpdateKeyParameters{
		KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil))
	_, err := client.Sign(ctx, "go", "", azkeys.SignParameters{
		Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: digest[:]}, nil)
	var refused *azcore.ResponseError
	check(errors.As(err, &refused) && refused.StatusCode == 403, "disabled key")
	fmt.Println("passed")
}
