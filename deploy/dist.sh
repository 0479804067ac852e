#!/usr/bin/env bash
# Puts what is shipped into dist/: `make dist` builds it first, in its full profile.
#
#   the filter, as Envoy, Istio and Envoy Gateway load it, and as a dynamic module; the control plane and the command line, for Linux on this
#   machine's architecture; completions and manual pages of the latter; the Helm chart; a CycloneDX SBOM of each; the notices of third
#   parties; LICENSE and NOTICE; SHA256SUMS of all of them
#
# What `make images` wrote into dist/images goes too, as it was made of the files before.
#
#   TAG   the tag that is released: fails unless it is the version of Cargo.toml (v0.1.0) and of base/release.json
#   SBOM  false leaves the SBOMs out: their tool, cargo-cyclonedx, is built once from crates.io (two minutes)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
CARGO=${CARGO:-cargo}
TARGET_DIR=${CARGO_TARGET_DIR:-target}
CYCLONEDX=0.5.9

fail() {
    echo "dist.sh: $*" >&2
    exit 1
}

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
chart=$(sed -n 's/^version: //p' deploy/chart/Chart.yaml)
[[ $chart == "$version" ]] || fail "the chart is of $chart, the workspace of $version: deploy/generate.py --release $version"
[[ -z ${TAG:-} || $TAG == "v$version" ]] || fail "the tag is $TAG, the workspace's version $version"
platform=$(rustc -vV | sed -n 's/^host: //p')
control=api-optimizer-control-plane-$version-$platform
filter=api-optimizer-filter-$version.wasm
cli=optimizer-$version-$platform
module=api-optimizer-filter-$version-$platform.so

# take BUILT FILE
take() {
    [[ -f $TARGET_DIR/$1 ]] || fail "there is no $TARGET_DIR/$1: run 'make dist', which builds it first"
    cp "$TARGET_DIR/$1" "dist/$2"
}

rm -rf dist
mkdir dist
take wasm32-wasip1/wasm/api_optimizer_filter.wasm "$filter"
take native/libapi_optimizer_filter_native.so "$module"
take release/api-optimizer-control-plane "$control"
take release/optimizer "$cli"
cp LICENSE NOTICE dist/
deploy/notices.py >dist/THIRD-PARTY-NOTICES.txt

# The same bytes from the same commit: sorted, without owners and times.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    --transform 's,^chart,api-optimizer,' -C deploy -cf - chart | gzip -n >"dist/api-optimizer-$version.tgz"

# Completions and manual pages are the program's own words.
texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
mkdir "$texts/completions"
"dist/$cli" completions bash >"$texts/completions/optimizer.bash"
"dist/$cli" completions zsh >"$texts/completions/_optimizer"
"dist/$cli" completions fish >"$texts/completions/optimizer.fish"
"dist/$cli" man --dir "$texts/man1"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" \
    -C "$texts" -cf - completions man1 | gzip -n >"dist/optimizer-$version-completions-and-manual.tar.gz"

# sbom CRATE FOLDER TARGET FILE
sbom() {
    (cd "$2" && cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$3" --override-filename sbom-of-dist --no-build-deps)
    mv "$2/sbom-of-dist.json" "dist/$4"
    python3 deploy/images/bom.py tidy "dist/$4"
    # It writes one for every member of the workspace.
    find . -name sbom-of-dist.json -not -path "./$TARGET_DIR/*" -delete
    grep -q "\"name\": \"$1\"" "dist/$4" || fail "the SBOM of $1 is of something else"
}

if [[ ${SBOM:-true} == true ]]; then
    export PATH=$PWD/$TARGET_DIR/dist-tools/bin:$PATH
    [[ "$(cargo cyclonedx --version 2>/dev/null)" == *" $CYCLONEDX" ]] ||
        "$CARGO" install --locked --quiet --root "$TARGET_DIR/dist-tools" "cargo-cyclonedx@$CYCLONEDX" ||
        fail "cargo-cyclonedx $CYCLONEDX could not be installed from crates.io: is there a network? SBOM=false does without"
    sbom api-optimizer-control-plane control-plane "$platform" "$control.cdx.json"
    sbom optimizer-cli cli "$platform" "$cli.cdx.json"
    sbom api-optimizer-filter filter wasm32-wasip1 "$filter.cdx.json"
    sbom api-optimizer-filter-native filter/native "$platform" "$module.cdx.json"
fi
(cd dist && sha256sum -- * >SHA256SUMS)
cat dist/SHA256SUMS
