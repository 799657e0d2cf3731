{{- /* Reports everything that is wrong at once. values.schema.json checks types and unknown names. */ -}}
{{- define "bearer-proxy.validate" -}}
{{- $values := .Values -}}
{{- $errors := list -}}
{{- if not $values.image.repository -}}
{{- $errors = append $errors "image.repository is not set: push the image to your registry, and name it here" -}}
{{- end -}}
{{- if not (or $values.existingSecret $values.externalSecret.enabled) -}}
{{- $errors = append $errors (printf "existingSecret is not set: create a Secret with the keys %s, and name it here" (include "bearer-proxy.secretKeys" .)) -}}
{{- end -}}
{{- if and $values.existingSecret $values.externalSecret.enabled -}}
{{- $errors = append $errors "existingSecret and externalSecret.enabled are both set: remove one of them" -}}
{{- end -}}
{{- if $values.externalSecret.enabled -}}
{{- if not $values.externalSecret.secretStoreRef.name -}}
{{- $errors = append $errors "externalSecret.secretStoreRef.name is not set: name the SecretStore" -}}
{{- end -}}
{{- if not $values.externalSecret.remoteKey -}}
{{- $errors = append $errors "externalSecret.remoteKey is not set: name the entry in the SecretStore" -}}
{{- end -}}
{{- end -}}
{{- if not (or $values.clientKeys $values.tlsSecret.clientCa) -}}
{{- $errors = append $errors "clientKeys is empty: everyone who reaches the gateway would use the grant. Add the SHA-256 digest of one key for each application, or require client certificates with tlsSecret.clientCa" -}}
{{- end -}}
{{- range $index, $digest := $values.clientKeys -}}
{{- if not (regexMatch "^[0-9a-f]{64}$" $digest) -}}
{{- $errors = append $errors (printf "clientKeys[%d] is not a SHA-256 digest in hex: use the output of printf %%s \"$key\" | sha256sum" $index) -}}
{{- else if eq $digest "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" -}}
{{- $errors = append $errors (printf "clientKeys[%d] is the digest of an empty key: set $key before you compute it" $index) -}}
{{- end -}}
{{- end -}}
{{- if and $values.tlsSecret.clientCa (not $values.tlsSecret.name) -}}
{{- $errors = append $errors "tlsSecret.clientCa needs tlsSecret.name: a Secret of type kubernetes.io/tls with the additional key ca.crt" -}}
{{- end -}}
{{- $grant := dig "oauth" "grant" "refresh_token" $values.config -}}
{{- if and (eq $values.store.kind "memory") (eq $grant "refresh_token") -}}
{{- $errors = append $errors "store.kind is memory, and config.oauth.grant is refresh_token: a restart would lose the grant. Use kubernetes or postgres" -}}
{{- end -}}
{{- $errors = concat $errors (include "bearer-proxy.storeErrors" . | fromJsonArray) (include "bearer-proxy.configErrors" . | fromJsonArray) -}}
{{- with $values.resources.limits.memory -}}
{{- $least := include "bearer-proxy.memory" $ | int -}}
{{- if lt (include "bearer-proxy.mebibytes" . | int) $least -}}
{{- $errors = append $errors (printf "resources.limits.memory is %s, and the limits of the program allow it %dMi: raise it, lower limits.*, or remove it so that the chart computes it" . $least) -}}
{{- end -}}
{{- end -}}
{{- if $errors -}}
{{- fail (printf "\n\nThe values of bearer-proxy are not usable:\n  - %s\n" (join "\n  - " $errors)) -}}
{{- end -}}
{{- end -}}

{{- define "bearer-proxy.secretKeys" -}}
{{- $keys := list .Values.secretKeys.clientId .Values.secretKeys.clientSecret -}}
{{- if and .Values.encryptGrant (ne .Values.store.kind "memory") }}{{ $keys = append $keys .Values.secretKeys.storeKeys }}{{ end -}}
{{- if eq .Values.store.kind "postgres" }}{{ $keys = append $keys .Values.secretKeys.storeUrl }}{{ end -}}
{{- if .Values.secretKeys.adminKey }}{{ $keys = append $keys .Values.secretKeys.adminKey }}{{ end -}}
{{- join ", " $keys -}}
{{- end -}}

{{- /* The proxy rewrites the grant's Secret. Nothing else may own it. */ -}}
{{- define "bearer-proxy.storeErrors" -}}
{{- $errors := list -}}
{{- if eq .Values.store.kind "kubernetes" -}}
{{- $store := include "bearer-proxy.store" . -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$" $store) -}}
{{- $errors = append $errors (printf "store.name is %q, and no object of Kubernetes can have this name: use lower-case letters, digits, - and ." $store) -}}
{{- end -}}
{{- if eq (include "bearer-proxy.secret" .) $store -}}
{{- $errors = append $errors (printf "store.name and the Secret with the credentials are both %q: the proxy rewrites the grant's Secret. Rename one of them" $store) -}}
{{- end -}}
{{- range .Values.extraObjects -}}
{{- if and (has .kind (list "Secret" "ExternalSecret" "SealedSecret")) (eq (dig "metadata" "name" "" .) $store) -}}
{{- $errors = append $errors (printf "extraObjects contains the %s %q, which the proxy rewrites: an upgrade would restore a spent refresh token. Remove it" .kind $store) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $errors -}}
{{- end -}}

{{- /* Keys of the program that the chart sets, or that are secrets. */ -}}
{{- define "bearer-proxy.configErrors" -}}
{{- $errors := list -}}
{{- $own := dict
  "listen" "the chart sets it"
  "probes.listen" "the chart sets it"
  "oauth.client_id" "put it into the Secret"
  "store.kind" "set store.kind, without config"
  "store.name" "set store.name, without config"
  "guard.client_keys" "set clientKeys instead"
  "guard.hosts" "set extraHosts instead"
  "guard.max_connections" "set limits.maxConnections instead, because the memory limit follows from it"
  "upstream.max_in_flight" "set limits.maxInFlight instead, because the memory limit follows from it"
  "upstream.replay_budget" "set limits.replayBudgetMiB instead, because the memory limit follows from it"
  "shutdown.delay" "set shutdownDelay instead"
  "tls.cert_file" "set tlsSecret instead"
  "tls.key_file" "set tlsSecret instead"
  "tls.client_ca_file" "set tlsSecret instead" -}}
{{- range (list "oauth.client_secret" "oauth.refresh_token" "oauth.access_token" "store.url" "store.keys" "admin.key") -}}
{{- $_ := set $own . "it is a secret, and values are stored in plaintext. Put it into the Secret" -}}
{{- $_ := set $own (printf "%s_file" .) "the chart mounts the Secret at /etc/bearer-proxy. Put the secret there, and set secretKeys or extraEnv" -}}
{{- end -}}
{{- range $section, $value := .Values.config -}}
{{- if kindIs "map" $value -}}
{{- range $key, $_ := $value -}}
{{- $name := printf "%s.%s" $section $key -}}
{{- with get $own $name }}{{ $errors = append $errors (printf "config.%s is not possible: %s" $name .) }}{{ end -}}
{{- end -}}
{{- else -}}
{{- with get $own $section }}{{ $errors = append $errors (printf "config.%s is not possible: %s" $section .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and (dig "guard" "max_header_size" "" .Values.config) (not .Values.resources.limits.memory) -}}
{{- $errors = append $errors "config.guard.max_header_size raises the memory ceiling: set resources.limits.memory too (docs/reference/limits.md)" -}}
{{- end -}}
{{- toJson $errors -}}
{{- end -}}
