{{- define "bearer-proxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "bearer-proxy.fullname" -}}
{{- $name := include "bearer-proxy.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bearer-proxy.selector" -}}
app.kubernetes.io/name: {{ include "bearer-proxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bearer-proxy.labels" -}}
{{ include "bearer-proxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "bearer-proxy.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "bearer-proxy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* The Secret with the client's credentials. */ -}}
{{- define "bearer-proxy.secret" -}}
{{- default (printf "%s-client" (include "bearer-proxy.fullname" .)) .Values.existingSecret -}}
{{- end -}}

{{- /* The Secret and the Lease of the Kubernetes store. */ -}}
{{- define "bearer-proxy.store" -}}
{{- default (include "bearer-proxy.fullname" .) .Values.store.name -}}
{{- end -}}

{{- define "bearer-proxy.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}
