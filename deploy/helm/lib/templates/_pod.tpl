{{- /* What all pods have in common. */ -}}

{{- define "kontor.podMetadata" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}{{- $calls := index . 2 -}}
labels:
  {{- include "kontor.labels" (list $root $role) | nindent 2 }}
  {{- with $calls }}
  {{- include "kontor.calls" . | trim | nindent 2 }}
  {{- end }}
{{- with $root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* No service account in jobs that run before anything is installed: there is none yet. */ -}}
{{- define "kontor.podSpec" -}}
{{- $root := index . 0 -}}{{- $role := index . 1 -}}
{{- $values := $root.Values -}}
{{- $facts := include "kontor.facts" $root | fromYaml -}}
{{- if has $role ($facts.jobs | default list) }}
restartPolicy: Never
{{- else }}
serviceAccountName: {{ include "kontor.name" $root }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: {{ $values.spread }}
    # Those of the version before, which are about to go, do not count.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "kontor.selector" (list $root $role) | nindent 8 }}
  {{- end }}
{{- end }}
automountServiceAccountToken: false
# Variables made of services' names would look like settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with $values.global.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "kontor.container" -}}
{{- $root := index . 0 -}}
image: {{ include "kontor.image" $root }}
imagePullPolicy: {{ $root.Values.global.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml (index . 1) | nindent 2 }}
{{- end }}
