{{- define "gateway.facts" -}}
roles: [serve]
metrics: /stats/prometheus
calls:
  serve: [contacts, identity, marketing, partners, sales, ticketing]
{{- end }}

{{- /* The gateway's files: the certificate that it shows to services, and the one that it shows to the world. */ -}}
{{- define "gateway.volumes" -}}
tmp:
  path: /tmp
  source:
    emptyDir:
      sizeLimit: 64Mi
{{- if .Values.global.tls.enabled }}
tls:
  path: /run/tls
  source:
    secret:
      secretName: {{ .Values.tls.secretName | default "kontor-gateway-tls" }}
      defaultMode: 0440
{{- end }}
{{- with .Values.listener.secretName }}
listener:
  path: /run/listener
  source:
    secret:
      secretName: {{ . }}
      defaultMode: 0440
{{- end }}
{{- end }}

{{- /* What `python -m kontor_gateway` is told. */ -}}
{{- define "gateway.args" -}}
- run
- --listen=0.0.0.0:8080
- --metrics=0.0.0.0:9090
- --issuer={{ .Values.global.issuer }}
- --audience={{ .Values.global.audience }}
- --identity-http=kontor-identity:8081
{{- range include "kontor.installed" (list . (include "gateway.facts" . | fromYaml).calls.serve) | fromYamlArray }}
- --upstream={{ . }}=kontor-{{ . }}:50051
{{- end }}
- --concurrency={{ .Values.concurrency }}
- --limit-tenant={{ .Values.limits.tenant }}
- --limit-client={{ .Values.limits.client }}
- --limit-address={{ .Values.limits.address }}
- --max-request-bytes={{ int64 .Values.maxRequestBytes }}
- --trusted-hops={{ .Values.trustedHops }}
{{- range .Values.corsOrigins }}
- --cors-origin={{ . }}
{{- end }}
{{- if .Values.listener.secretName }}
- --tls-certificate=/run/listener/tls.crt
- --tls-key=/run/listener/tls.key
{{- end }}
{{- if .Values.global.tls.enabled }}
- --upstream-ca=/run/tls/ca.crt
- --upstream-certificate=/run/tls/tls.crt
- --upstream-key=/run/tls/tls.key
{{- end }}
{{- end }}
