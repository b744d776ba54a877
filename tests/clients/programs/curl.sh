#!/bin/sh
# Read a secret with the documented curl command of each protocol: CHECK... prints one result for each. CHECK is
# imds, app-service or msi, and may have `=CLIENT_ID`: then the secret is that of the second vault.
say() { printf '{"%s": "%s"}\n' "$1" "$(printf %s "$2" | tr -d '"\\\n\r')"; }
say version "$(curl --version | cut -d' ' -f2 | head -n 1)"
for check; do
    style=${check%%=*} client=${check#"$style"} vault=journey-vault
    client=${client#=}
    [ -z "$client" ] || vault=second-vault
    query="resource=https://vault.azure.net"
    case $style in
    imds)
        url=http://169.254.169.254/metadata/identity/oauth2/token header="Metadata: true"
        query="api-version=2018-02-01&$query${client:+&client_id=$client}" ;;
    app-service)
        url=$IDENTITY_ENDPOINT header="X-IDENTITY-HEADER: $IDENTITY_HEADER"
        query="api-version=2019-08-01&$query${client:+&client_id=$client}" ;;
    msi)
        url=$MSI_ENDPOINT header="Metadata: true"
        query="api-version=2017-09-01&$query${client:+&clientid=$client}"
        [ -z "$MSI_SECRET" ] || header="secret: $MSI_SECRET" ;;
    esac
    if [ -z "$url" ]; then
        say "$check" "no variable names an endpoint"
        continue
    fi
    answer=$(curl -sS --max-time 30 -H "$header" "$url?$query" 2>&1)
    token=$(printf %s "$answer" | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p')
    if [ -n "$token" ]; then
        answer=$(curl -sS --max-time 30 -H "Authorization: Bearer $token" \
            "https://$vault.vault.azure.net/secrets/greeting?api-version=7.4" 2>&1)
        answer=$(printf %s "$answer" | sed 's/.*"value": *"\([^"]*\)".*/\1/')
    fi
    say "$check" "$answer"
done
