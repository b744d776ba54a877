{{- define "podpass-cloud.labels" -}}
app.kubernetes.io/name: podpass-cloud
app.kubernetes.io/part-of: podpass-cloud
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}
