// Use every operation on certificates with the released client: VAULT.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
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

func policy(issuer string) *azcertificates.CertificatePolicy {
	return &azcertificates.CertificatePolicy{
		IssuerParameters:          &azcertificates.IssuerParameters{Name: to.Ptr(issuer)},
		KeyProperties:             &azcertificates.KeyProperties{KeyType: to.Ptr(azcertificates.KeyTypeEC), Curve: to.Ptr(azcertificates.CurveNameP384)},
		X509CertificateProperties: &azcertificates.X509CertificateProperties{Subject: to.Ptr("CN=www")},
	}
}

func main() {
	ctx := context.Background()
	credential := must(azidentity.NewDefaultAzureCredential(nil))
	client := must(azcertificates.NewClient("https://"+os.Args[1]+".vault.azure.net", credential, nil))
	create := func(name, issuer string) azcertificates.CertificateOperation {
		parameters := azcertificates.CreateCertificateParameters{CertificatePolicy: policy(issuer)}
		must(client.CreateCertificate(ctx, name, parameters, nil))
		return must(client.GetCertificateOperation(ctx, name, nil)).CertificateOperation
	}

	check(*create("go", "Self").Status == "completed", "status")
	made := must(client.GetCertificate(ctx, "go", "", nil))
	leaf := must(x509.ParseCertificate(made.CER))
	check(leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil, "signature")
	check(leaf.PublicKey.(*ecdsa.PublicKey).Curve == elliptic.P384(), "curve")

	issuer := must(client.SetIssuer(ctx, "go-ca", azcertificates.SetIssuerParameters{Provider: to.Ptr("podpass")}, nil))
	check(*issuer.Provider == "podpass", "provider")
	check(*create("go-signed", "go-ca").Status == "completed", "status of the issuer")
	signed := must(x509.ParseCertificate(must(client.GetCertificate(ctx, "go-signed", "", nil)).CER))
	check(signed.Issuer.CommonName == "podpass vault issuer go-ca", "issuer")
	must(client.DeleteIssuer(ctx, "go-ca", nil))

	// A CA outside of the vault signs the request.
	operation := create("go-merged", "Unknown")
	check(*operation.Status == "inProgress", "status of the request")
	request := must(x509.ParseCertificateRequest(operation.CSR))
	check(request.CheckSignature() == nil, "request")
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true}
	root := must(x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key))
	template := *ca
	template.Subject, template.IsCA = request.Subject, false
	merged := must(x509.CreateCertificate(rand.Reader, &template, ca, request.PublicKey, key))
	answer := must(client.MergeCertificate(ctx, "go-merged", azcertificates.MergeCertificateParameters{
		X509Certificates: [][]byte{merged, root}}, nil))
	check(bytes.Equal(answer.CER, merged), "merge")

	create("go-cancelled", "Unknown")
	cancelled := must(client.UpdateCertificateOperation(ctx, "go-cancelled",
		azcertificates.UpdateCertificateOperationParameter{CancellationRequested: to.Ptr(true)}, nil))
	check(*cancelled.CancellationRequested, "cancellation")
	must(client.DeleteCertificateOperation(ctx, "go-cancelled", nil))

	encoded := must(x509.MarshalPKCS8PrivateKey(key))
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})...)
	imported := must(client.ImportCertificate(ctx, "go-imported", azcertificates.ImportCertificateParameters{
		Base64EncodedCertificate: to.Ptr(base64.StdEncoding.EncodeToString(text))}, nil))
	check(bytes.Equal(imported.CER, root), "import")

	contacts := azcertificates.Contacts{ContactList: []*azcertificates.Contact{{Email: to.Ptr("a@example.com")}}}
	must(client.SetContacts(ctx, contacts, nil))
	check(*must(client.GetContacts(ctx, nil)).ContactList[0].Email == "a@example.com", "contacts")
	must(client.DeleteContacts(ctx, nil))
	longer := policy("Self")
	longer.X509CertificateProperties.ValidityInMonths = to.Ptr(int32(24))
	changed := must(client.UpdateCertificatePolicy(ctx, "go", *longer, nil))
	check(*changed.X509CertificateProperties.ValidityInMonths == 24, "policy")
	backup := must(client.BackupCertificate(ctx, "go", nil))
	must(client.DeleteCertificate(ctx, "go", nil))
	must(client.PurgeDeletedCertificate(ctx, "go", nil))
	restored := must(client.RestoreCertificate(ctx, azcertificates.RestoreCertificateParameters{CertificateBackup: backup.Value}, nil))
	check(*restored.ID == *made.ID, "restore")
	_, err := client.GetCertificate(ctx, "go", "00000000000000000000000000000000", nil)
	var missing *azcore.ResponseError
	check(errors.As(err, &missing) && missing.ErrorCode == "CertificateNotFound", "missing version")
	fmt.Println("passed")
}
