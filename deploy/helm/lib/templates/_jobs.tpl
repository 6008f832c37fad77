{{- /* Jobs that run once before or after an installation or upgrade. */ -}}

{{- define "kontor.migrate" -}}
{{- if .Values.migrate.enabled }}
{{- $job := dict
  "role" "migrate"
  "hook" "pre-install,pre-upgrade"
  "args" (list "migrate")
  "values" .Values.migrate
  "volumes" (include "kontor.allVolumes" (list . "migrate") | fromYaml) -}}
{{ include "kontor.job" (list . $job) }}
{{- end }}
{{- end }}

{{- define "kontor.job" -}}
{{- $root := index . 0 -}}{{- $job := index . 1 -}}
{{- $context := list $root $job.role -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "kontor.metadata" $context | nindent 2 }}
  annotations:
    helm.sh/hook: {{ $job.hook }}
    # What failed stays to be looked at until it is tried again.
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  backoffLimit: {{ $job.values.retries }}
  activeDeadlineSeconds: {{ $job.values.deadlineSeconds }}
  template:
    metadata:
      {{- include "kontor.podMetadata" (list $root $job.role list) | nindent 6 }}
    spec:
      {{- include "kontor.podSpec" $context | trim | nindent 6 }}
      containers:
        - name: {{ $job.role }}
          args:
            {{- toYaml $job.args | nindent 12 }}
          {{- include "kontor.container" (list $root $job.values.resources) | nindent 10 }}
          env:
            {{- include "kontor.env" $context | trim | nindent 12 }}
          volumeMounts:
            {{- include "kontor.mounts" $job.volumes | nindent 12 }}
      volumes:
        {{- include "kontor.volumes" $job.volumes | nindent 8 }}
{{- end }}
