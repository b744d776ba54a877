// Connects to each URL with the standard library. Prints one line for each: trusted or refused.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
)

func main() {
	for _, url := range os.Args[1:] {
		response, err := http.Get(url)
		var refused *tls.CertificateVerificationError
		switch {
		case err == nil:
			response.Body.Close()
			fmt.Println("trusted")
		case errors.As(err, &refused):
			fmt.Println("refused")
		default:
			panic(err)
		}
	}
}
