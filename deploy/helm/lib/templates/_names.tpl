{{- /* Names and labels. All take the chart's context; those with a role take (list context role). */ -}}

{{- /* What a chart says of itself: its own template `<chart>.facts`, as YAML. */ -}}
{{- define "kontor.facts" -}}
{{ include (printf "%s.facts" .Chart.Name) . }}
{{- end }}

{{- define "kontor.name" -}}
kontor-{{ .Chart.Name }}
{{- end }}

{{- define "kontor.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/part-of: kontor
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "kontor.labels" -}}
{{- $root := index . 0 -}}
{{ include "kontor.selector" . }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "kontor.metadata" -}}
name: {{ include "kontor.name" (index . 0) }}{{ with index . 1 }}-{{ . }}{{ end }}
namespace: {{ (index . 0).Release.Namespace }}
labels:
  {{- include "kontor.labels" . | nindent 2 }}
{{- end }}

{{- define "kontor.image" -}}
{{- $image := .Values.global.image -}}
{{- $tag := $image.tag | default .Chart.AppVersion -}}
{{- if eq $tag "latest" }}{{ fail "global.image.tag: latest says not what runs; name a version" }}{{ end -}}
{{ with $image.registry }}{{ . }}/{{ end }}{{ include "kontor.name" . }}:{{ $tag }}
{{- end }}

{{- /* The services that are installed, of those that are called. */ -}}
{{- define "kontor.installed" -}}
{{- $root := index . 0 -}}
{{- range index . 1 }}{{ if index $root.Values.global.services . }}
- {{ . }}
{{- end }}{{ end }}
{{- end }}

{{- /* Labels of who calls others: what those let in is chosen by them, so that nobody has to know who calls him. */ -}}
{{- define "kontor.calls" -}}
{{- range . }}
calls.kontor.io/{{ . }}: "true"
{{- end }}
{{- end }}
