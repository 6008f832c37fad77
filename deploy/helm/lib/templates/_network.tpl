{{- /* Who may connect to whom: a policy for each role, which lets through what the role needs and nothing else. */ -}}

{{- /* The services that a role calls, as labels of its pods name them. */ -}}
{{- define "kontor.callees" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $facts := include "kontor.facts" $root | fromYaml -}}
{{- include "kontor.installed" (list $root (index $facts.calls $role)) }}
{{- if and (ne $root.Chart.Name "identity") (or (eq $role "serve") (and (eq $role "work") (has "receive" $facts.roles))) }}
- identity-http
{{- end }}
{{- end }}

{{- define "kontor.networkPolicies" -}}
{{- $root := . -}}
{{- if .Values.global.networkPolicy.enabled }}
{{- $facts := include "kontor.facts" . | fromYaml -}}
{{- range concat (include "kontor.roles" . | fromYamlArray) ($facts.jobs | default list) }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "kontor.metadata" (list $root .) | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "kontor.selector" (list $root .) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with include "kontor.ingress" (list $root .) | trim }}
  ingress:
    {{- . | nindent 4 }}
  {{- end }}
  egress:
    {{- include "kontor.egress" (list $root .) | trim | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kontor.ingress" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $name := $root.Chart.Name -}}
{{- if eq $name "gateway" }}
{{ include "kontor.rule" (list "from" $root.Values.networkPolicy.clients 8080) }}
{{- else if eq $role "serve" }}
{{ include "kontor.callers" (list $name 50051 $root.Values.networkPolicy.clients) }}
{{- if eq $name "identity" }}
{{ include "kontor.callers" (list "identity-http" 8081 list) }}
{{- end }}
{{- end }}
{{- if has $role (list "serve" "work" "receive") }}
{{ include "kontor.rule" (list "from" $root.Values.global.networkPolicy.monitoring 9090) }}
{{- end }}
{{- end }}

{{- define "kontor.callers" -}}
- ports:
    - port: {{ index . 1 }}
  from:
    - podSelector:
        matchLabels:
          calls.kontor.io/{{ index . 0 }}: "true"
    {{- with index . 2 }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "kontor.rule" -}}
- ports:
    - port: {{ index . 2 }}
  {{- with index . 1 }}
  {{ index $ 0 }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "kontor.egress" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $policy := $root.Values.global.networkPolicy -}}
{{ include "kontor.egressDns" $root }}
{{- $facts := include "kontor.facts" $root | fromYaml -}}
{{- if $facts.jobs }}
{{ include "kontor.rule" (list "to" $policy.database.to $policy.database.port) }}
{{- end }}
{{- if and (eq $root.Values.global.transport "amqp") (has $role (list "work" "receive")) }}
{{ include "kontor.rule" (list "to" $policy.amqp.to $policy.amqp.port) }}
{{- end }}
{{- if has $role (list "serve" "work") }}
{{- include "kontor.egressServices" (include "kontor.callees" . | fromYamlArray) }}
{{- if $root.Values.global.tracing.endpoint }}
{{ include "kontor.rule" (list "to" $policy.tracing.to $policy.tracing.port) }}
{{- end }}
{{- range index ($facts.reaches | default dict) $role }}
{{ include "kontor.rule" (list "to" .to .port) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "kontor.egressDns" -}}
{{- $dns := .Values.global.networkPolicy.dns -}}
- ports:
    - port: {{ $dns.port }}
      protocol: UDP
    - port: {{ $dns.port }}
      protocol: TCP
  {{- with $dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "kontor.egressServices" -}}
{{- range . }}
- ports:
    - port: {{ ternary 8081 50051 (eq . "identity-http") }}
  to:
    - podSelector:
        matchLabels:
          {{- include "kontor.selector" (list (dict "Chart" (dict "Name" (trimSuffix "-http" .))) "serve") | nindent 10 }}
{{- end }}
{{- end }}
