{{- define "contacts.facts" -}}
roles: [serve, work, receive]
jobs: [migrate]
# Whom its processes call: for records that it refers to, and what it follows.
calls:
  serve: [identity]
  work: [contacts, identity, marketing, partners, sales, ticketing]
{{- end }}
