#!/usr/bin/env bash
# readme_test.sh SOURCE_DIR: the commands of README's quick start are targets of the Makefile, and the
# one that tests is, as it stands there, what .ci/run runs.
set -euo pipefail
cd "$1"
# The lines of the fenced blocks of the section "Quick start", comments cut off.
commands=$(awk '/^## / { quick = /Quick start/ } /^```/ { fenced = !fenced; next }
    quick && fenced { sub(/ *#.*/, ""); if (NF) print }' README.md)
fail() { echo "$*" >&2; exit 1; }

[[ $(grep -c '^make test$' <<<"$commands") == 1 ]] || fail "README's quick start has no line: make test"
grep -qx 'make test' .ci/run || fail ".ci/run does not run README's test command: make test"
while read -r command; do
    case $command in
    make\ *) make -n --no-print-directory "${command#make }" >/dev/null || fail "README: not a target: $command" ;;
    *) fail "README's quick start holds something else than make: $command" ;;
    esac
done <<<"$commands"
