{{- /* One value of the program's configuration, as it is written in a variable. */ -}}
{{- define "bearer-proxy.value" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s = %s" (toJson $key) (toJson (toString $value))) -}}
{{- end -}}
{{- printf "{ %s }" (join ", " $pairs) -}}
{{- else if kindIs "float64" . -}}
{{- /* Helm reads every number as one of these, and would print a million as 1e+06. */ -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{- /* `config` as a list of variables. */ -}}
{{- define "bearer-proxy.config" -}}
{{- range $section, $value := .Values.config }}
{{- if kindIs "map" $value }}
{{- range $key, $inner := $value }}
- { name: BEARER_PROXY_{{ upper $section }}__{{ upper $key }}, value: {{ include "bearer-proxy.value" $inner | quote }} }
{{- end }}
{{- else }}
- { name: BEARER_PROXY_{{ upper $section }}, value: {{ include "bearer-proxy.value" $value | quote }} }
{{- end }}
{{- end }}
{{- end -}}

{{- /* The documented ceiling for HTTP/2 clients plus kernel socket buffers, in MiB (docs/reference/limits.md), rounded up to 32. */ -}}
{{- define "bearer-proxy.memory" -}}
{{- with .Values.limits -}}
{{- $connections := int .maxConnections -}}
{{- $inFlight := int .maxInFlight -}}
{{- $bodies := div (add (mul $inFlight 47) 9) 10 -}}
{{- $ceiling := add 10 (int .replayBudgetMiB) $connections $bodies $connections $inFlight -}}
{{- mul 32 (div (add $ceiling 31) 32) -}}
{{- end -}}
{{- end -}}

{{- /* A memory limit that the operator wrote, in MiB. */ -}}
{{- define "bearer-proxy.mebibytes" -}}
{{- if hasSuffix "Gi" . }}{{ mul 1024 (int (trimSuffix "Gi" .)) }}{{ else }}{{ int (trimSuffix "Mi" .) }}{{ end -}}
{{- end -}}

{{- /* A map of quantities on one line. */ -}}
{{- define "bearer-proxy.quantities" -}}
{{- $pairs := list -}}
{{- range $name, $value := . -}}
{{- $pairs = append $pairs (printf "%s: %s" $name (toString $value | quote)) -}}
{{- end -}}
{{- printf "{ %s }" (join ", " $pairs) -}}
{{- end -}}
