{{- define "marketing.facts" -}}
roles: [serve, work, receive]
jobs: [migrate]
calls:
  serve: [identity]
  work: [contacts, ticketing]
{{- if .Values.mail.enabled }}
# `serve` only wants to know whether there is a mail server.
secrets:
  smtp-url: KONTOR_MARKETING_SMTP_URL
reaches:
  work:
    - {{ toJson (pick .Values.mail "port" "to") }}
{{- end }}
{{- with .Values.mail.publicUrl }}
settings:
  {{- range list "serve" "work" }}
  {{ . }}:
    KONTOR_PUBLIC_URL: {{ $.Values.mail.publicUrl }}
  {{- end }}
{{- end }}
{{- end }}
