{{- /* Certificates by cert-manager, and who the holders of others are. */ -}}

{{- define "kontor.certificate" -}}
{{- $tls := .Values.global.tls -}}
{{- if and $tls.enabled $tls.certManager.enabled }}
{{- $name := include "kontor.name" . -}}
{{- if not $tls.certManager.issuer }}{{ fail "global.tls.certManager.issuer: name the issuer of the platform's own authority" }}{{ end -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "kontor.metadata" (list . "") | nindent 2 }}
spec:
  secretName: {{ .Values.tls.secretName | default (printf "%s-tls" $name) }}
  issuerRef:
    name: {{ $tls.certManager.issuer }}
    kind: {{ $tls.certManager.kind }}
  # The gateway asks for the name of the service, other services for the host that they call.
  dnsNames:
    - {{ .Chart.Name }}
    - {{ $name }}
    - {{ $name }}.{{ .Release.Namespace }}
    - {{ $name }}.{{ .Release.Namespace }}.svc
  duration: 2160h
  renewBefore: 720h
  privateKey:
    algorithm: ECDSA
    size: 256
    rotationPolicy: Always
  usages: [digital signature, server auth, client auth]
{{- end }}
{{- end }}

{{- define "kontor.principals" -}}
{{- if and .Values.global.tls.enabled .Values.global.tls.clientCertificates .Values.tls.principals }}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "kontor.metadata" (list . "principals") | nindent 2 }}
data:
  principals.json: |
    {{- toPrettyJson .Values.tls.principals | nindent 4 }}
{{- end }}
{{- end }}
