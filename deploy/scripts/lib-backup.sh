# shellcheck shell=bash
# What a backup is; sourced after lib.sh.
#
# A set is one file of every part, under one stamp YYYYMMDD or YYYYMMDD-HHMMSS:
#   config-STAMP.yaml  secrets-STAMP.yaml  cache-snapshot-STAMP.json  metrics-STAMP.json
# and, where backup.sh made it, checksums-STAMP.sha256. The same names with `latest` hold the newest set that was verified.

# Secrets and stored responses are for nobody else.
umask 077

BACKUP_DIR=${BACKUP_DIR:-backups}
BACKUP_PARTS=${BACKUP_PARTS:-config secrets cache-snapshot metrics}
CONFIG_NAME=api-optimizer-config
SECRET_NAME=api-optimizer-secrets

check_backup_dir() {
  local part
  [[ -d $BACKUP_DIR ]] || die "no folder $BACKUP_DIR here (run this from deploy/, or set BACKUP_DIR)"
  for part in $BACKUP_PARTS; do
    [[ $part == config || $part == secrets || $part == cache-snapshot || $part == metrics ]] \
      || misuse "BACKUP_PARTS: unknown part \"$part\""
  done
}

has_part() { [[ " $BACKUP_PARTS " == *" $1 "* ]]; }

suffix_of() {
  case $1 in
    config | secrets) printf yaml ;;
    *) printf json ;;
  esac
}

# latest PART: the path of its verified newest copy.
latest() { printf '%s/%s-latest.%s' "$BACKUP_DIR" "$1" "$(suffix_of "$1")"; }

# read_object FILE KIND NAME: the one object of the file into $ANSWER as JSON, without what ties it to one cluster.
read_object() {
  kube_plain patch --local -f "$1" --type=merge -p '{}' -o json || die "$1 is no manifest: $REASON"
  jq -s --arg kind "$2" --arg name "$3" '
    if length == 1 and .[0].kind == $kind and .[0].metadata.name == $name then .[0] else error("other") end
    | del(.metadata.resourceVersion, .metadata.uid, .metadata.creationTimestamp, .metadata.generation, .metadata.managedFields,
          .metadata.selfLink, .metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"])
    | if .metadata.annotations == {} then del(.metadata.annotations) else . end' "$ANSWER" >"$SCRATCH/object" 2>/dev/null \
    || die "$1 is not the $2 $3"
  mv "$SCRATCH/object" "$ANSWER"
}

check_config() {
  local key value
  read_object "$1" ConfigMap "$CONFIG_NAME"
  for key in cache_size default_ttl max_connections; do
    value=$(pick ".data.$key | strings") || die "$1 has no key $key"
    case $key in
      default_ttl) duration_ms "$value" >/dev/null || die "$1: default_ttl is \"$value\", no duration" ;;
      *) above "$value" 0 || [[ $key == cache_size && $value =~ ^(small|medium|large)$ ]] || die "$1: $key is \"$value\", no size" ;;
    esac
  done
}

check_secrets() {
  read_object "$1" Secret "$SECRET_NAME"
  pick '.data | type == "object" and length > 0 and all(.[]; type == "string" and test("^[A-Za-z0-9+/]*={0,2}$"))' >/dev/null \
    || die "$1 holds no secrets, or one that is not base64"
}

# What can be told without the control plane; it checks every record when it restores, or as a dry run.
check_snapshot() {
  jq -e '.format == "api-optimizer-cache-snapshot" and .version == 1 and (.entries | type) == "array"
    and .count == (.entries | length) and (.checksum | type) == "string" and (.created_at | type) == "string"
    and all(.entries[]; (.url | type) == "string" and (.checksum | type) == "string"
      and (.record | type == "string" and test("^[A-Za-z0-9+/_-]*={0,2}$")))' "$1" >/dev/null 2>&1 \
    || die "$1 is no whole cache snapshot of version 1"
}

check_metrics() {
  jq -e '.status == "success" and (.data.name | type) == "string"' "$1" >/dev/null 2>&1 \
    || die "$1: Prometheus took no snapshot: $(head -c 200 "$1")"
}

# dry_restore FILE: what a restore would do, into $ANSWER; nothing is changed.
dry_restore() {
  must_api POST '/cache/restore?dry_run=true' -H 'Content-Type: application/json' --upload-file "$1"
  pick '.refused == 0' >/dev/null || die "$1 would not restore as a whole: $(jq -c . "$ANSWER")"
}

# As YAML that every reader takes: one line a field, values in JSON.
to_yaml() {
  jq -r 'to_entries[] | .key as $key | .value
    | if ($key | IN("data", "stringData", "binaryData")) and (. != {}) then "\($key):", (to_entries[] | "  \(.key | tojson): \(.value | tojson)")
      else "\($key): \(tojson)" end' "$ANSWER"
}
