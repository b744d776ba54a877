#!/usr/bin/env bash
# Service Connector on AKS: one command instead of federated credential, role assignment and ServiceAccount, and a pod that reads
# its secret with nothing but a label, `serviceAccountName` and `envFrom`.
#
# `make tutorial CONNECT=yes` runs this script against an instance of podpass. To run it by hand: `eval "$(podpass env)"`, then line
# by line. docs/develop/connect.md explains what each command does.
set -euo pipefail

# Without this variable, the commands would change your own subscription and cluster.
: "${PODPASS_ENV:?run this script in a shell with the environment of an instance: podpass env}"

FILES="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
RANDOM_ID="$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')"
RESOURCE_GROUP="connect-$RANDOM_ID"
LOCATION="eastus"
CLUSTER_NAME="cluster-$RANDOM_ID"
KEYVAULT_NAME="vault-$RANDOM_ID"
IDENTITY_NAME="identity-$RANDOM_ID"
CONNECTION="keyvault_$RANDOM_ID"

## A cluster without workload identity, a vault and an identity

az group create --name "$RESOURCE_GROUP" --location "$LOCATION"
az aks create --resource-group "$RESOURCE_GROUP" --name "$CLUSTER_NAME" --no-ssh-key
az aks get-credentials --name "$CLUSTER_NAME" --resource-group "$RESOURCE_GROUP"
az keyvault create \
  --name "$KEYVAULT_NAME" \
  --resource-group "$RESOURCE_GROUP" \
  --location "$LOCATION" \
  --enable-rbac-authorization
az role assignment create \
  --assignee "$(az ad signed-in-user show --query id --output tsv)" \
  --role "Key Vault Secrets Officer" \
  --scope "$(az keyvault show --name "$KEYVAULT_NAME" --query id --output tsv)"
az keyvault secret set --vault-name "$KEYVAULT_NAME" --name greeting --value 'Hello!'
az identity create --name "$IDENTITY_NAME" --resource-group "$RESOURCE_GROUP" --location "$LOCATION"
IDENTITY_ID="$(az identity show --name "$IDENTITY_NAME" --resource-group "$RESOURCE_GROUP" --query id --output tsv)"

## The connection

az provider register --namespace Microsoft.ServiceLinker --wait
az provider register --namespace Microsoft.KubernetesConfiguration --wait
az aks connection create keyvault \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --connection "$CONNECTION" \
  --target-resource-group "$RESOURCE_GROUP" \
  --vault "$KEYVAULT_NAME" \
  --workload-identity "$IDENTITY_ID" \
  --client-type python

## What it wrote

SECRET_NAME="$(az aks connection show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --connection "$CONNECTION" \
  --query kubernetesResourceName.secret \
  --output tsv)"
ACCOUNT_NAME="$(az aks connection show \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --connection "$CONNECTION" \
  --query kubernetesResourceName.serviceAccount \
  --output tsv)"
kubectl get secret "$SECRET_NAME" --output yaml
kubectl get serviceaccount "$ACCOUNT_NAME" --output yaml
az identity federated-credential list --identity-name "$IDENTITY_NAME" --resource-group "$RESOURCE_GROUP"

## A pod that reads its secret

kubectl create configmap program --from-file "$FILES/read_secret.py"
kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata:
  name: connected
  labels:
    azure.workload.identity/use: "true"
spec:
  serviceAccountName: $ACCOUNT_NAME
  restartPolicy: Never
  containers:
    - name: app
      image: python
      command: [python, /program/read_secret.py, greeting]
      envFrom: [{secretRef: {name: $SECRET_NAME}}]
      volumeMounts: [{name: program, mountPath: /program}]
  volumes: [{name: program, configMap: {name: program}}]
EOF
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/connected --timeout=120s
kubectl logs pod/connected

## A second run changes nothing

az aks connection validate --resource-group "$RESOURCE_GROUP" --name "$CLUSTER_NAME" --connection "$CONNECTION"
az aks connection create keyvault \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --connection "$CONNECTION" \
  --target-resource-group "$RESOURCE_GROUP" \
  --vault "$KEYVAULT_NAME" \
  --workload-identity "$IDENTITY_ID" \
  --client-type python

## Delete the connection

az aks connection delete \
  --resource-group "$RESOURCE_GROUP" \
  --name "$CLUSTER_NAME" \
  --connection "$CONNECTION" \
  --yes
# The Secret and the ServiceAccount stay; a user deletes them.
kubectl delete secret "$SECRET_NAME"
kubectl delete serviceaccount "$ACCOUNT_NAME"

## Clean up

kubectl delete pod connected
az group delete --name "$RESOURCE_GROUP" --yes
