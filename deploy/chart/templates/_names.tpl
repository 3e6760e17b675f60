{{- define "labels" -}}
{app.kubernetes.io/name: minivault, app.kubernetes.io/instance: {{ .Release.Name | quote }}}
{{- end -}}
{{- define "image" -}}
{{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
{{- end -}}
