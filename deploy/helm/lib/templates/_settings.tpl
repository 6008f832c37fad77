{{- /* What a process reads: variables, and files with what is secret. All take (list context role). */ -}}

{{- /* Keys of Secrets that a role reads, with the variables that name their files; as YAML. */ -}}
{{- define "kontor.secrets" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $facts := include "kontor.facts" $root | fromYaml -}}
{{- $prefix := printf "KONTOR_%s" (upper $root.Chart.Name) -}}
{{- $amqp := eq $root.Values.global.transport "amqp" -}}
{{- if eq $role "migrate" }}
owner-database-url: {{ $prefix }}_OWNER_DATABASE_URL
{{- else }}
system-database-url: {{ $prefix }}_SYSTEM_DATABASE_URL
{{- if ne $role "receive" }}
database-url: {{ $prefix }}_DATABASE_URL
{{- end }}
{{- if has $role (list "serve" "work") }}
page-token-key: KONTOR_PAGE_TOKEN_KEY
{{- end }}
{{- if and (eq $role "work") (has "receive" $facts.roles) }}
client-secret: KONTOR_CLIENT_SECRET
{{- end }}
{{- if and $amqp (has $role (list "work" "receive")) }}
amqp-url: KONTOR_AMQP_URL
{{- end }}
{{- if ne $role "receive" }}
{{- with $facts.secrets }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Variables that are the same for all services, and the chart's own. */ -}}
{{- define "kontor.variables" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $values := $root.Values -}}{{- $global := $values.global -}}
{{- $facts := include "kontor.facts" $root | fromYaml -}}
{{- $scheme := ternary "https" "http" $global.tls.enabled -}}
KONTOR_LOG_LEVEL: {{ $global.log.level }}
KONTOR_LOG_FORMAT: {{ $global.log.format }}
{{- if not $global.tls.enabled }}
KONTOR_PLAINTEXT: "true"
{{- end }}
{{- if ne $role "migrate" }}
KONTOR_ISSUER: {{ $global.issuer }}
KONTOR_AUDIENCE: {{ $global.audience }}
{{- end }}
{{- if has $role (list "serve" "work" "receive") }}
KONTOR_METRICS_LISTEN: 0.0.0.0:9090
KONTOR_TRANSPORT: {{ $global.transport }}
KONTOR_DRAIN_SECONDS: {{ $values.drain.seconds | quote }}
{{- end }}
{{- if has $role (list "serve" "work") }}
KONTOR_LISTEN: 0.0.0.0:50051
KONTOR_DRAIN_DELAY_SECONDS: {{ ternary $values.drain.delaySeconds 0 (eq $role "serve") | quote }}
{{- with include "kontor.installed" (list $root (index $facts.calls $role)) | fromYamlArray }}
KONTOR_PEERS: {{ range $index, $name := . }}{{ if $index }};{{ end }}{{ $name }}=dns:///kontor-{{ $name }}:50051{{ end }}
{{- end }}
{{- if ne $root.Chart.Name "identity" }}
KONTOR_JWKS_URL: {{ $scheme }}://kontor-identity:8081/.well-known/jwks.json
{{- end }}
{{- if and (eq $role "work") (has "receive" $facts.roles) }}
KONTOR_TOKEN_URL: {{ $scheme }}://kontor-identity:8081/oauth2/token
KONTOR_CLIENT_ID: {{ $values.client.id | default (include "kontor.clientId" $root) }}
{{- end }}
{{- with include "kontor.tracing" $root }}
{{ . }}
{{- end }}
{{- with index ($facts.settings | default dict) $role }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kontor.tracing" -}}
{{- with .Values.global.tracing.endpoint -}}
{{ toYaml (merge (dict "OTEL_EXPORTER_OTLP_ENDPOINT" .) $.Values.global.tracing.variables) }}
{{- end }}
{{- end }}

{{- /* The id that `bootstrap --register` gives the account of a service. */ -}}
{{- define "kontor.clientId" -}}
{{- $digest := printf "kontor service %s" .Chart.Name | sha256sum -}}
00000000-0000-7{{ substr 0 3 $digest }}-8{{ substr 3 6 $digest }}-{{ substr 6 18 $digest }}
{{- end }}

{{- define "kontor.env" -}}
{{- $root := index . 0 -}}
{{- $variables := include "kontor.variables" . | fromYaml -}}
{{- $files := include "kontor.files" . | fromYaml -}}
{{- range $name, $value := merge (dict) $root.Values.settings $variables $files }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* Variables that name files. */ -}}
{{- define "kontor.files" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $values := $root.Values -}}{{- $tls := $values.global.tls -}}
{{- range $key, $variable := include "kontor.secrets" . | fromYaml }}
{{ $variable }}_FILE: /run/secrets/kontor/{{ $key }}
{{- end }}
{{- if and $tls.enabled (has $role (list "serve" "work")) }}
KONTOR_TLS_CERTIFICATE_FILE: /run/tls/tls.crt
KONTOR_TLS_KEY_FILE: /run/tls/tls.key
KONTOR_TLS_CA_FILE: /run/tls/ca.crt
{{- if $tls.clientCertificates }}
KONTOR_TLS_CLIENT_CA_FILE: /run/tls/ca.crt
{{- if and $values.tls.principals (eq $role "serve") }}
KONTOR_TLS_PRINCIPALS_FILE: /run/principals/principals.json
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq $values.global.transport "amqp") (has $role (list "work" "receive")) }}
{{- if $values.amqp.caSecretName }}
KONTOR_AMQP_CA_FILE: /run/amqp-ca/ca.crt
{{- end }}
{{- if $values.amqp.certificateSecretName }}
KONTOR_AMQP_CERTIFICATE_FILE: /run/amqp/tls.crt
KONTOR_AMQP_KEY_FILE: /run/amqp/tls.key
{{- end }}
{{- end }}
{{- end }}
