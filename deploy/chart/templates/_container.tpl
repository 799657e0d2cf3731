{{- /*
The container of the proxy. `kind` is `gateway`, or `sidecar`: deploy/kubernetes/sidecar is generated from this template.
*/ -}}
{{- define "bearer-proxy.container" -}}
{{- $values := .root.Values -}}
{{- $keys := $values.secretKeys -}}
{{- $sidecar := eq .kind "sidecar" -}}
name: bearer-proxy
image: {{ include "bearer-proxy.image" .root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- if $sidecar }}
# A native sidecar: it starts before the application and ends after it.
restartPolicy: Always
# Optional: any other setting, as a variable. The variables below take precedence.
envFrom:
  - configMapRef: { name: bearer-proxy-settings, optional: true }
{{- else }}
{{- with $values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
env:
  - { name: BEARER_PROXY_OAUTH__CLIENT_ID, valueFrom: { secretKeyRef: { name: {{ include "bearer-proxy.secret" .root }}, key: {{ $keys.clientId }} } } }
  - { name: BEARER_PROXY_OAUTH__CLIENT_SECRET_FILE, value: "/etc/bearer-proxy/{{ $keys.clientSecret }}" }
  - { name: BEARER_PROXY_STORE__KIND, value: {{ $values.store.kind | quote }} }
{{- /* A sidecar takes the program's default, so that the ConfigMap can replace it. */ -}}
{{- if and (eq $values.store.kind "kubernetes") (not $sidecar) }}
  - { name: BEARER_PROXY_STORE__NAME, value: {{ include "bearer-proxy.store" .root | quote }} }
{{- else if and (eq $values.store.kind "postgres") $values.store.name }}
  - { name: BEARER_PROXY_STORE__NAME, value: {{ $values.store.name | quote }} }
{{- end }}
{{- if eq $values.store.kind "postgres" }}
  - { name: BEARER_PROXY_STORE__URL_FILE, value: "/etc/bearer-proxy/{{ $keys.storeUrl }}" }
{{- end }}
{{- if and $values.encryptGrant (ne $values.store.kind "memory") }}
  - { name: BEARER_PROXY_STORE__KEYS_FILE, value: "/etc/bearer-proxy/{{ $keys.storeKeys }}" }
{{- end }}
{{- if $keys.adminKey }}
  - { name: BEARER_PROXY_ADMIN__KEY_FILE, value: "/etc/bearer-proxy/{{ $keys.adminKey }}" }
{{- end }}
  # The kubelet and Prometheus cannot reach loopback. This port reveals no secret.
  - { name: BEARER_PROXY_PROBES__LISTEN, value: "0.0.0.0:9902" }
{{- if not $sidecar }}
  - { name: BEARER_PROXY_LISTEN, value: "0.0.0.0:8080" }
{{- with $values.clientKeys }}
  # One digest for each application, separated by commas.
  - { name: BEARER_PROXY_GUARD__CLIENT_KEYS, value: {{ join "," . | quote }} }
{{- end }}
  - { name: BEARER_PROXY_GUARD__HOSTS, value: {{ include "bearer-proxy.hosts" .root | quote }} }
{{- if $values.tlsSecret.name }}
  - { name: BEARER_PROXY_TLS__CERT_FILE, value: "/etc/bearer-proxy-tls/tls.crt" }
  - { name: BEARER_PROXY_TLS__KEY_FILE, value: "/etc/bearer-proxy-tls/tls.key" }
{{- if $values.tlsSecret.clientCa }}
  - { name: BEARER_PROXY_TLS__CLIENT_CA_FILE, value: "/etc/bearer-proxy-tls/ca.crt" }
{{- end }}
{{- end }}
{{- end }}
{{- if $sidecar }}
  # The kubelet may end application and sidecar together (eviction). The application's last calls come after SIGTERM.
{{- else }}
  # Until every node knows that this pod accepts no more requests.
{{- end }}
  - { name: BEARER_PROXY_SHUTDOWN__DELAY, value: {{ $values.shutdownDelay | quote }} }
  # The memory limit below follows from these (docs/reference/limits.md).
  - { name: BEARER_PROXY_GUARD__MAX_CONNECTIONS, value: {{ int $values.limits.maxConnections | quote }} }
  - { name: BEARER_PROXY_UPSTREAM__MAX_IN_FLIGHT, value: {{ int $values.limits.maxInFlight | quote }} }
  - { name: BEARER_PROXY_UPSTREAM__REPLAY_BUDGET, value: "{{ int $values.limits.replayBudgetMiB }}MiB" }
{{- with include "bearer-proxy.config" .root | trim }}
  {{- . | nindent 2 }}
{{- end }}
{{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
{{- if not $sidecar }}
  - { name: http, containerPort: 8080 }
{{- end }}
  - { name: probes, containerPort: 9902 }
# Both ask for /livez. A restart would bring no grant, and would end the `kubectl exec` that stores one.
startupProbe:
  httpGet: { path: /livez, port: probes }
  periodSeconds: 1
  failureThreshold: 30
livenessProbe:
  httpGet: { path: /livez, port: probes }
  periodSeconds: 10
{{- if $sidecar }}
# No readiness probe. It would make the whole pod unready, and all replicas at once, because they share the grant. The application may
# have work to do without the API.
{{- else }}
readinessProbe:
  httpGet: { path: /readyz, port: probes }
  periodSeconds: 5
{{- end }}
resources:
  requests: {{ include "bearer-proxy.quantities" $values.resources.requests }}
  # The CPU limit is also the number of worker threads.
  limits: {{ include "bearer-proxy.quantities" (merge (dict) $values.resources.limits (dict "memory" (printf "%sMi" (include "bearer-proxy.memory" .root)))) }}
securityContext:
  {{- toYaml $values.securityContext | nindent 2 }}
volumeMounts:
  - { name: bearer-proxy-secrets, mountPath: /etc/bearer-proxy, readOnly: true }
{{- if eq $values.store.kind "kubernetes" }}
  - { name: bearer-proxy-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }
{{- end }}
{{- if $values.tlsSecret.name }}
  - { name: bearer-proxy-tls, mountPath: /etc/bearer-proxy-tls, readOnly: true }
{{- end }}
{{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Volumes that only this container mounts. */ -}}
{{- define "bearer-proxy.volumes" -}}
# Not by subPath: a changed Secret takes effect without a restart.
- name: bearer-proxy-secrets
  secret: { secretName: {{ include "bearer-proxy.secret" . }}, defaultMode: 0440 }
{{- if eq .Values.store.kind "kubernetes" }}
# The token for the API server. The pod mounts none by default, so that no other container has one.
- name: bearer-proxy-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: { path: token, expirationSeconds: 3600 }
      - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
      - downwardAPI: { items: [{ path: namespace, fieldRef: { fieldPath: metadata.namespace } }] }
{{- end }}
{{- if .Values.tlsSecret.name }}
- name: bearer-proxy-tls
  secret: { secretName: {{ .Values.tlsSecret.name }}, defaultMode: 0440 }
{{- end }}
{{- end -}}

{{- define "bearer-proxy.hosts" -}}
{{- $name := include "bearer-proxy.fullname" . -}}
{{- $service := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- concat (list $name (printf "%s.%s" $name .Release.Namespace) $service (printf "%s.%s" $service .Values.clusterDomain)) .Values.extraHosts | join "," -}}
{{- end -}}
