#!/bin/sh
# Finds or installs valgrind, which counts instructions.
set -eu
cd "$(dirname "$0")"
. ../packages.sh

needed valgrind valgrind
