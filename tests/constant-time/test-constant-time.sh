#!/bin/sh
# Secrets decide no branch and no index: test_constant_time under valgrind, where secrets are
# undefined memory.  First leaks on purpose, each of which has to be reported.
# usage: test-constant-time.sh [BINARY SUPPRESSIONS]     none in builds that valgrind cannot run
if [ $# -ne 2 ] || ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed, or this build has a sanitizer"
    exit 77
fi
binary=$1 suppressions=$2
log=$(mktemp "${TMPDIR:-/tmp}/packfed-test-XXXXXX") || exit 1
trap 'rm -f "$log"' EXIT

follow() {
    valgrind -q --error-exitcode=1 --leak-check=no --suppressions="$suppressions" "$binary" "$@"
}

# It is reported, and right where it happens: in a function leak_… or in what that calls.
expect_leak() {
    follow "$1" >"$log" 2>&1
    status=$?
    if [ $status -ne 1 ] || ! grep -A 2 'uninitialised value' "$log" | grep -q ': leak_'; then
        echo "FAILED: the leak '$1' is not reported (exit status $status)" >&2
        cat "$log" >&2
        exit 1
    fi
    echo "ok: the leak '$1' is reported"
}

for leak in memcmp index share key box mask; do expect_leak $leak; done
follow || {
    echo "FAILED: a secret decides a branch or an index (see above), or a test failed" >&2
    exit 1
}
