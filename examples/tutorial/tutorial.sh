#!/usr/bin/env bash
# Workload identity on AKS: from an empty subscription to a pod that reads a secret from Key Vault without a stored credential.
#
# The steps and options are from Microsoft's page "Deploy and configure an AKS cluster with workload identity".
# `make tutorial` runs this script against an instance of podpass. To run it by hand: `eval "$(podpass env)"`, then line by line.
set -euo pipefail

# Without this variable, the commands would change your own subscription and cluster.
: "${PODPASS_ENV:?run this script in a shell with the environment of an instance: podpass env}"

RANDOM_ID="$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')"

## A resource group

RESOURCE_GROUP="tutorial-$RANDOM_ID"
LOCATION="eastus"
az group create --name "$RESOURCE_GROUP" --location "$LOCATION"

## A cluster with an OIDC issuer and workload identity

CLUSTER_NAME="cluster-$RANDOM_ID"
az aks create \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --enable-oidc-issuer \
  --enable-workload-identity \
  --generate-ssh-keys

## The issuer's URL

AKS_OIDC_ISSUER="$(az aks show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --query "oidcIssuerProfile.issuerUrl" \
  --output tsv)"

## A managed identity

SUBSCRIPTION="$(az account show --query id --output tsv)"
USER_ASSIGNED_IDENTITY_NAME="identity-$RANDOM_ID"
az identity create \
  --name "$USER_ASSIGNED_IDENTITY_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --location "$LOCATION" \
  --subscription "$SUBSCRIPTION"

USER_ASSIGNED_CLIENT_ID="$(az identity show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$USER_ASSIGNED_IDENTITY_NAME" \
  --query clientId \
  --output tsv)"

## A ServiceAccount with the identity's client ID

az aks get-credentials --name "$CLUSTER_NAME" --resource-group "$RESOURCE_GROUP"

SERVICE_ACCOUNT_NAMESPACE="default"
SERVICE_ACCOUNT_NAME="workload-identity-$RANDOM_ID"
kubectl apply -f - <<EOF
apiVersion: v1
kind: ServiceAccount
metadata:
  name: $SERVICE_ACCOUNT_NAME
  namespace: $SERVICE_ACCOUNT_NAMESPACE
  annotations:
    azure.workload.identity/client-id: $USER_ASSIGNED_CLIENT_ID
EOF

## A federated credential: the identity trusts tokens of that ServiceAccount

FEDERATED_IDENTITY_CREDENTIAL_NAME="credential-$RANDOM_ID"
az identity federated-credential create \
  --name "$FEDERATED_IDENTITY_CREDENTIAL_NAME" \
  --identity-name "$USER_ASSIGNED_IDENTITY_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --issuer "$AKS_OIDC_ISSUER" \
  --subject "system:serviceaccount:$SERVICE_ACCOUNT_NAMESPACE:$SERVICE_ACCOUNT_NAME" \
  --audience api://AzureADTokenExchange

## A pod that uses the identity: labelled, with that ServiceAccount

kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata:
  name: sample-workload-identity
  namespace: $SERVICE_ACCOUNT_NAMESPACE
  labels:
    azure.workload.identity/use: "true"
spec:
  serviceAccountName: $SERVICE_ACCOUNT_NAME
  containers:
    - name: rabbitmq
      image: mcr.microsoft.com/mirror/docker/library/rabbitmq:3.10-management-alpine
      ports:
        - {name: rabbitmq-amqp, containerPort: 5672}
        - {name: rabbitmq-http, containerPort: 15672}
      resources:
        requests: {cpu: 10m, memory: 128Mi}
        limits: {cpu: 250m, memory: 256Mi}
EOF

## A key vault with RBAC authorization and purge protection

KEYVAULT_NAME="vault-$RANDOM_ID"
az keyvault create \
  --name "$KEYVAULT_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --location "$LOCATION" \
  --enable-purge-protection \
  --enable-rbac-authorization

## Your role: write secrets

KEYVAULT_RESOURCE_ID="$(az keyvault show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$KEYVAULT_NAME" \
  --query id \
  --output tsv)"

CALLER_OBJECT_ID="$(az ad signed-in-user show --query id --output tsv)"

az role assignment create \
  --assignee "$CALLER_OBJECT_ID" \
  --role "Key Vault Secrets Officer" \
  --scope "$KEYVAULT_RESOURCE_ID"

## A secret

KEYVAULT_SECRET_NAME="my-secret-$RANDOM_ID"
az keyvault secret set \
  --vault-name "$KEYVAULT_NAME" \
  --name "$KEYVAULT_SECRET_NAME" \
  --value 'Hello!'

## The identity's role: read secrets

IDENTITY_PRINCIPAL_ID="$(az identity show \
  --name "$USER_ASSIGNED_IDENTITY_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --query principalId \
  --output tsv)"

az role assignment create \
  --assignee-object-id "$IDENTITY_PRINCIPAL_ID" \
  --role "Key Vault Secrets User" \
  --scope "$KEYVAULT_RESOURCE_ID" \
  --assignee-principal-type ServicePrincipal

## A pod that reads the secret

KEYVAULT_URL="$(az keyvault show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$KEYVAULT_NAME" \
  --query properties.vaultUri \
  --output tsv)"

kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata:
  name: sample-workload-identity-key-vault
  namespace: $SERVICE_ACCOUNT_NAMESPACE
  labels:
    azure.workload.identity/use: "true"
spec:
  serviceAccountName: $SERVICE_ACCOUNT_NAME
  containers:
    - name: oidc
      image: ${SAMPLE_IMAGE:-ghcr.io/azure/azure-workload-identity/msal-go}
      env:
        - name: KEYVAULT_URL
          value: $KEYVAULT_URL
        - name: SECRET_NAME
          value: $KEYVAULT_SECRET_NAME
  nodeSelector:
    kubernetes.io/os: linux
EOF

kubectl wait \
  --namespace "$SERVICE_ACCOUNT_NAMESPACE" \
  --for=condition=Ready \
  pod/sample-workload-identity-key-vault \
  --timeout=120s

kubectl describe pod sample-workload-identity-key-vault | grep "SECRET_NAME:"

# A container is Ready as soon as it runs. Its first token and its first log line come later.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  LOGS="$(kubectl logs sample-workload-identity-key-vault)"
  case "$LOGS" in *"got secret"*) break ;; esac
  sleep 1
done
echo "$LOGS"

## Disable workload identity

az aks update --resource-group "$RESOURCE_GROUP" --name "$CLUSTER_NAME" --disable-workload-identity

# The next steps are not on Microsoft's page: the effect on the next pod, and the clean-up.

kubectl run after-it-is-off \
  --image mcr.microsoft.com/mirror/docker/library/rabbitmq:3.10-management-alpine \
  --labels azure.workload.identity/use=true
ENVIRONMENT="$(kubectl get pod after-it-is-off --output jsonpath='{.spec.containers[0].env}')"
echo "Environment variables of the pod: ${ENVIRONMENT:-none}"

## Clean up

az group delete --name "$RESOURCE_GROUP" --yes
