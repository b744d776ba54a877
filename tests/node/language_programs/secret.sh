#!/bin/sh
# Exchange the projected token for an access token, and read the secret with it: curl and sed only.
vault=https://journey-vault.vault.azure.net
answer=$(curl -sS --data-urlencode "client_assertion@$AZURE_FEDERATED_TOKEN_FILE" \
    -d "client_id=$AZURE_CLIENT_ID" -d grant_type=client_credentials \
    -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \
    --data-urlencode scope=https://vault.azure.net/.default \
    "${AZURE_AUTHORITY_HOST}${AZURE_TENANT_ID}/oauth2/v2.0/token" 2>&1)
token=$(printf %s "$answer" | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p')
if [ -z "$token" ]; then
    printf '%s\n' "$answer" >&2
    exit 1
fi
printf 'Authorization: Bearer %s' "$token" |
    curl -sSf -H @- "$vault/secrets/greeting?api-version=7.4" && echo
