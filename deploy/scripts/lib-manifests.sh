# shellcheck shell=bash
# Manifests against the cluster; sourced after lib.sh.

DEPLOYMENT_DIR=${DEPLOYMENT_DIR:-deployment}

check_cluster() {
  kube_plain get --raw /readyz || die "the cluster is not ready: $REASON"
}

# may VERB RESOURCE: whether whoever runs this has the right.
may() {
  kube auth can-i "$1" "$2" || die "no right to $1 $2 in $NAMESPACE"
}

# check_manifests FOLDER: the API server would take every object of it; leaves them in $ANSWER as one list.
check_manifests() {
  local folder=$DEPLOYMENT_DIR/$1 images
  local files=("$folder"/*.yaml "$folder"/*.yml "$folder"/*.json)
  ((${#files[@]})) || die "no manifests in $folder (run this from deploy/, or set DEPLOYMENT_DIR)"
  KUBE_TIMEOUT=60 kube apply --dry-run=server -o json -f "$folder/" || die "$folder is refused: $REASON"
  jq -s '{items: [.[] | if .kind == "List" then .items[] else . end]}' "$ANSWER" >"$SCRATCH/list" 2>/dev/null \
    || die "$folder: kubectl answered no JSON"
  mv "$SCRATCH/list" "$ANSWER"
  images=$(unpinned_images)
  [[ -z $images ]] || die "$folder: images that can change under their name: $images"
  say "$folder: $(jq '.items | length' "$ANSWER") objects are accepted"
}

# Images in $ANSWER with neither a digest nor a tag of their own.
unpinned_images() {
  jq -r '[.items[] | .spec.template.spec? | (.initContainers[]?, .containers[]?) | .image
    | select(test("@sha256:[0-9a-f]{64}$") or (test(":[^/:@]+$") and (endswith(":latest") | not)) | not)] | unique | join(", ")' "$ANSWER"
}

# images_by_component VERSION: of the Deployments in $ANSWER, as {"component": {"container": "image"}}.
images_by_component() {
  jq -cS --arg version "$1" '[.items[] | select(.kind == "Deployment" and .metadata.labels.version == $version)
    | {key: (.metadata.labels.component // .metadata.name),
       value: ([.spec.template.spec.containers[] | {key: .name, value: .image}] | from_entries)}] | from_entries' "$ANSWER"
}
