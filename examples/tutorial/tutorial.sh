#!/usr/bin/env bash
# Workload identity on AKS, from an empty subscription to a pod that reads a secret without holding one.
#
# The steps and options are those of Microsoft's page "Deploy and configure an AKS cluster with workload identity".
# `make tutorial` runs this against an instance of podpass. By hand: `eval "$(podpass env)"`, then line by line.
set -euo pipefail

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

## A ServiceAccount that names the identity

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

## The federated credential: the identity trusts tokens of that account

FEDERATED_IDENTITY_CREDENTIAL_NAME="credential-$RANDOM_ID"
az identity federated-credential create \
  --name "$FEDERATED_IDENTITY_CREDENTIAL_NAME" \
  --identity-name "$USER_ASSIGNED_IDENTITY_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --issuer "$AKS_OIDC_ISSUER" \
  --subject "system:serviceaccount:$SERVICE_ACCOUNT_NAMESPACE:$SERVICE_ACCOUNT_NAME" \
  --audience api://AzureADTokenExchange

## A pod that may use the identity: the label asks for it, the account says which

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

## A vault that asks for roles and cannot be purged

KEYVAULT_NAME="vault-$RANDOM_ID"
az keyvault create \
  --name "$KEYVAULT_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --location "$LOCATION" \
  --enable-purge-protection \
  --enable-rbac-authorization

## Your own right to write secrets

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

## The identity's right to read secrets

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

# A container is Ready when it runs; its first token and its first line take a moment more.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  LOGS="$(kubectl logs sample-workload-identity-key-vault)"
  case "$LOGS" in *"got secret"*) break ;; esac
  sleep 1
done
echo "$LOGS"

## Workload identity off again

az aks update --resource-group "$RESOURCE_GROUP" --name "$CLUSTER_NAME" --disable-workload-identity

# From here on it is our own: what "off" means for the next pod, and the clean-up.

kubectl run after-it-is-off \
  --image mcr.microsoft.com/mirror/docker/library/rabbitmq:3.10-management-alpine \
  --labels azure.workload.identity/use=true
ENVIRONMENT="$(kubectl get pod after-it-is-off --output jsonpath='{.spec.containers[0].env}')"
echo "The environment it was given: ${ENVIRONMENT:-none}"

## All of it away

az group delete --name "$RESOURCE_GROUP" --yes
