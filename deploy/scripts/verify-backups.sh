#!/usr/bin/env bash
# Verifies the newest backups by their contents and then makes them the latest ones: config-latest.yaml, secrets-latest.yaml,
# cache-snapshot-latest.json, metrics-latest.json, and latest.sha256 over them. One broken or missing part, and the latest
# ones stay what they were.
#
# Usage: verify-backups.sh
#
# Manifests must be the right object with usable values; resourceVersion, uid and creationTimestamp are stripped in the latest
# ones, which would make `kubectl apply` a conflict. The snapshot must be whole, and restore as a dry run where the control
# plane can be reached. Prometheus must have answered success. Checksums made by backup.sh must match.
#
# Environment: BACKUP_DIR (backups), BACKUP_PARTS (config secrets cache-snapshot metrics)
#              BACKUP_MAX_AGE_DAYS  older ones are told (8)
#              API_OPTIMIZER_URL, API_OPTIMIZER_TOKEN_FILE
# Exit: 0 verified, latest written; 1 a backup is missing or broken, latest untouched; 2 wrong use

set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=lib-backup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib-backup.sh"

only_help "$@"
need kubectl jq curl timeout sha256sum
max_age=${BACKUP_MAX_AGE_DAYS:-8}
whole_setting BACKUP_MAX_AGE_DAYS "$max_age" 1 3660
check_backup_dir
# Beside the backups, so that the last step is a rename.
TMPDIR=$BACKUP_DIR scratch
mkdir "$SCRATCH/new"

# stamp_of PART FILE: YYYYMMDD or YYYYMMDD-HHMMSS; fails on a name that carries none.
stamp_of() {
  local stamp=${2##*/"$1"-}
  stamp=${stamp%.*}
  [[ $stamp =~ ^[0-9]{8}(-[0-9]{4,6})?$ ]] || return 1
  printf '%s' "$stamp"
}

# newest PART: the path of its newest backup: by day, and within a day by the time it was written.
newest() {
  local file stamp rank best='' best_rank=''
  for file in "$BACKUP_DIR/$1"-*."$(suffix_of "$1")"; do
    stamp=$(stamp_of "$1" "$file") || continue
    rank=${stamp:0:8}$(stat -c %015Y -- "$file")
    if [[ $rank > $best_rank ]]; then
      best=$file
      best_rank=$rank
    fi
  done
  [[ -n $best ]] || die "no backup $BACKUP_DIR/$1-YYYYMMDD.$(suffix_of "$1")"
  printf '%s' "$best"
}

# Around midnight the parts of one run may carry two dates, never three.
check_dates() {
  local days=("$@") first last
  first=$(printf '%s\n' "${days[@]}" | sort | head -n 1)
  last=$(printf '%s\n' "${days[@]}" | sort | tail -n 1)
  [[ $last == "$first" || $last == "$(date -d "$first + 1 day" +%Y%m%d 2>/dev/null)" ]] \
    || die "the newest backups are no set: one is of $first, another of $last"
  if [[ $first < $(date -d "$max_age days ago" +%Y%m%d) ]]; then say "warning: the newest backups are of $first"; fi
}

verify() {
  local part=$1 file=$2 new
  new=$SCRATCH/new/$(basename "$(latest "$part")")
  [[ -s $file && -r $file ]] || die "$file is empty or cannot be read"
  case $part in
    config) check_config "$file" && to_yaml >"$new" ;;
    secrets) check_secrets "$file" && to_yaml >"$new" ;;
    cache-snapshot) check_snapshot "$file" && cp -- "$file" "$new" ;;
    metrics) check_metrics "$file" && cp -- "$file" "$new" ;;
  esac
  say "$file is sound"
}

check_sums() {
  local sums=$BACKUP_DIR/checksums-$1.sha256
  [[ -e $sums ]] || return 0
  (cd "$BACKUP_DIR" && sha256sum --check --strict --status "${sums##*/}" 2>/dev/null) \
    || die "$sums: a file is not what was backed up"
  say "$sums matches"
}

try_restore() {
  if api GET /health/live; then
    dry_restore "$1"
    say "$1 would restore: $(jq -c . "$ANSWER")"
  else
    say "$1 was not tried as a restore: $REASON"
  fi
}

publish() {
  (cd "$SCRATCH/new" && sha256sum -- *) >"$SCRATCH/sums"
  mv "$SCRATCH/sums" "$SCRATCH/new/latest.sha256"
  mv -f -- "$SCRATCH/new"/* "$BACKUP_DIR/"
}

declare -A found=()
stamps=()
for part in $BACKUP_PARTS; do
  found[$part]=$(newest "$part")
  stamps+=("$(stamp_of "$part" "${found[$part]}")")
done
check_dates "${stamps[@]%%-*}"
for part in $BACKUP_PARTS; do verify "$part" "${found[$part]}"; done
for stamp in $(printf '%s\n' "${stamps[@]}" | sort -u); do check_sums "$stamp"; done
if has_part cache-snapshot; then try_restore "${found[cache-snapshot]}"; fi
if has_part metrics; then
  say "note: the data of Prometheus' snapshot $(jq -r .data.name "${found[metrics]}") stay on its disk; copy that folder as well"
fi
# Whoever made them by hand may have left them readable.
chmod go-rwx -- "${found[@]}" || say "warning: cannot make the backups private"
publish
say "verified; latest is $(printf '%s\n' "${stamps[@]}" | sort | tail -n 1)"
