{{- define "api-optimizer.suffix" -}}
{{- if ne .Values.version "new" }}-{{ .Values.version }}{{ end -}}
{{- end }}

{{- define "api-optimizer.dataPlane" -}}
api-optimizer{{ include "api-optimizer.suffix" . }}
{{- end }}

{{- define "api-optimizer.controlPlane" -}}
api-optimizer-control{{ include "api-optimizer.suffix" . }}
{{- end }}

{{/* The recommended labels, as members of a map in braces. */}}
{{- define "api-optimizer.labels" -}}
app.kubernetes.io/name: api-optimizer, app.kubernetes.io/part-of: api-optimizer, app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}, app.kubernetes.io/instance: {{ .Release.Name }}, app.kubernetes.io/managed-by: {{ .Release.Service }}, helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* (list context own name): what the values say, or the name with the chart's version. */}}
{{- define "api-optimizer.image" -}}
{{- $context := index . 0 -}}
{{ $context.Values.registry }}/{{ index . 1 | default (printf "%s:%s" (index . 2) $context.Chart.AppVersion) }}
{{- end }}
