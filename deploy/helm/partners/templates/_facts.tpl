{{- define "partners.facts" -}}
roles: [serve, work, receive]
jobs: [migrate]
calls:
  serve: [contacts, identity, sales]
  work: [contacts, identity, sales]
{{- end }}
