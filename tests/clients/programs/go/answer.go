package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

const vault = "https://journey-vault.vault.azure.net"

// direct is true without the gateway: the program can reach the token service but no vault.
var _, direct = os.LookupEnv("DIRECT")

// say prints one JSON object per line; the last line is printed at the end of the program.
func say(members map[string]string) {
	line, err := json.Marshal(members)
	must(err)
	fmt.Println(string(line))
}

func audience(token string) string {
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(err)
	var claims struct{ Aud string }
	must(json.Unmarshal(body, &claims))
	return claims.Aud
}

func assertion() string {
	text, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
	must(err)
	return string(text)
}

// version returns the version of the linked module, without its "v".
func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, each := range info.Deps {
		if each.Path == module {
			return strings.TrimPrefix(each.Version, "v")
		}
	}
	return "none"
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
