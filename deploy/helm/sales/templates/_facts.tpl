{{- define "sales.facts" -}}
roles: [serve, work, receive]
jobs: [migrate]
calls:
  serve: [contacts, identity]
  work: [contacts, identity, partners, ticketing]
{{- end }}
