{{- define "crbo.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The release's name where it says what it is, else with the chart's. */}}
{{- define "crbo.fullname" -}}
{{- $name := include "crbo.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "crbo.selectorLabels" -}}
app.kubernetes.io/name: {{ include "crbo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "crbo.labels" -}}
{{ include "crbo.selectorLabels" . }}
{{ include "crbo.helmLabels" . }}
{{- end }}

{{/* What only helm adds; the plain manifests in deploy/ are otherwise the same. */}}
{{- define "crbo.helmLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "crbo.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "crbo.fullname" .) }}
{{- else -}}
{{ required "serviceAccount.name is required with serviceAccount.create=false" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "crbo.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The subject of every binding. */}}
{{- define "crbo.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "crbo.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Flags that differ from the binary's defaults, one a line. */}}
{{- define "crbo.args" -}}
- run
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- range .Values.allowedEndpoints }}
- {{ printf "--allowed-endpoint=%s" . | quote }}
{{- end }}
{{- if not .Values.leaderElection.enabled }}
- --leader-elect=false
{{- end }}
{{- if .Values.readOnly }}
- --read-only=true
{{- end }}
{{- if ne (int .Values.concurrency) 256 }}
- --concurrency={{ int .Values.concurrency }}
{{- end }}
{{- if ne .Values.logFormat "json" }}
- --log-format={{ .Values.logFormat }}
{{- end }}
{{- if ne .Values.logLevel "info" }}
- {{ printf "--log-level=%s" .Values.logLevel | quote }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
