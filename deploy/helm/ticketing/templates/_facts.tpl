{{- define "ticketing.facts" -}}
roles: [serve, work, receive]
jobs: [migrate]
calls:
  serve: [contacts, identity, sales]
  work: [contacts, identity, sales]
{{- $storage := .Values.storage }}
{{- if $storage.url }}
{{- if not (hasPrefix "s3://" $storage.url) }}{{ fail "storage.url: pods share no folder; give s3://bucket/prefix" }}{{ end }}
{{- if $storage.keys }}
secrets:
  storage-access-key: KONTOR_TICKETING_STORAGE_ACCESS_KEY
  storage-secret-key: KONTOR_TICKETING_STORAGE_SECRET_KEY
{{- end }}
settings:
  {{- range list "serve" "work" }}
  {{ . }}:
    KONTOR_TICKETING_STORAGE_URL: {{ $storage.url }}
    KONTOR_TICKETING_STORAGE_ENDPOINT: {{ $storage.endpoint | quote }}
    KONTOR_TICKETING_STORAGE_REGION: {{ $storage.region }}
  {{- end }}
reaches:
  {{- range list "serve" "work" }}
  {{ . }}:
    - {{ toJson (pick $storage "port" "to") }}
    {{- if not $storage.keys }}
    # Where clouds tell a machine its role.
    - {port: 80, to: [{ipBlock: {cidr: 169.254.0.0/16}}]}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
