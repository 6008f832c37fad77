{{- /* The files of a process, as variables name them. All take (list context role). */ -}}

{{- /* Name -> where it is mounted, and what it is. */ -}}
{{- define "kontor.allVolumes" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $values := $root.Values -}}
{{- $files := include "kontor.files" . -}}
tmp:
  path: /tmp
  source:
    emptyDir:
      sizeLimit: 64Mi
secrets:
  path: /run/secrets/kontor
  source:
    projected:
      defaultMode: 0440
      sources:
        {{- range $key, $_ := include "kontor.secrets" . | fromYaml }}
        {{- include "kontor.secretSource" (list $root $key) | trim | nindent 8 }}
        {{- end }}
{{- if contains "/run/tls/" $files }}
tls:
  path: /run/tls
  source:
    secret:
      secretName: {{ $values.tls.secretName | default (printf "%s-tls" (include "kontor.name" $root)) }}
      defaultMode: 0440
{{- end }}
{{- if contains "/run/principals/" $files }}
principals:
  path: /run/principals
  source:
    configMap:
      name: {{ include "kontor.name" $root }}-principals
{{- end }}
{{- if contains "/run/amqp-ca/" $files }}
amqp-ca:
  path: /run/amqp-ca
  source:
    secret:
      secretName: {{ $values.amqp.caSecretName }}
      items:
        - key: ca.crt
          path: ca.crt
{{- end }}
{{- if contains "/run/amqp/" $files }}
amqp:
  path: /run/amqp
  source:
    secret:
      secretName: {{ $values.amqp.certificateSecretName }}
      defaultMode: 0440
{{- end }}
{{- end }}

{{- define "kontor.secretSource" -}}
{{- $root := index . 0 -}}{{- $key := index . 1 -}}
{{- $secrets := $root.Values.secrets -}}
{{- $other := index $secrets.elsewhere $key | default dict -}}
- secret:
    name: {{ $other.name | default $secrets.name | default (include "kontor.name" $root) }}
    items:
      - key: {{ $other.key | default $key }}
        path: {{ $key }}
{{- end }}

{{- define "kontor.volumes" -}}
{{- range $name, $volume := . }}
- name: {{ $name }}
  {{- toYaml $volume.source | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kontor.mounts" -}}
{{- range $name, $volume := . }}
- name: {{ $name }}
  mountPath: {{ $volume.path }}
  {{- if ne $name "tmp" }}
  readOnly: true
  {{- end }}
{{- end }}
{{- end }}
