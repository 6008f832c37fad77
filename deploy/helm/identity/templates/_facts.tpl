{{- define "identity.facts" -}}
roles: [serve, work]
jobs: [migrate, bootstrap]
calls:
  serve: []
  # It has every service delete what it keeps of a tenant.
  work: [contacts, marketing, partners, sales, ticketing]
secrets:
  key-encryption-key: KONTOR_IDENTITY_KEY_ENCRYPTION_KEY
settings:
  serve:
    KONTOR_HTTP_LISTEN: 0.0.0.0:8081
    KONTOR_TRUSTED_PROXIES: {{ .Values.trustedProxies | quote }}
{{- end }}
