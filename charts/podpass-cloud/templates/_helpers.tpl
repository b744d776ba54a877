{{/* Azurite is reached from its own pod only, so the key is no secret. */}}
{{- define "podpass-cloud.azuriteAccounts" -}}
{{- $accounts := list -}}
{{- range (fromYaml .Values.seed).storage_accounts -}}
{{- $accounts = append $accounts (printf "%s:b25seSB0aGUgY2xvdWQncyBwb2QgcmVhY2hlcyBBenVyaXRl" .name) -}}
{{- end -}}
{{- join ";" $accounts -}}
{{- end -}}

{{- define "podpass-cloud.labels" -}}
app.kubernetes.io/name: podpass-cloud
app.kubernetes.io/part-of: podpass-cloud
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}
