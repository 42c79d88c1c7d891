# Helpers of the integration tests: a scratch folder, assertions, a federation's keys.
# Use: . "$(dirname "$0")/lib.sh" with $1 = the packfed binary.

packfed=$(realpath "$1")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/packfed-test-XXXXXX")
cd "$scratch" || exit 1
n_passed=0
background="" # process ids to stop at the end

cleanup() {
    # shellcheck disable=SC2086
    [ -z "$background" ] || kill $background 2>/dev/null
    cd / && rm -rf "$scratch"
}
trap cleanup EXIT

fail() {
    echo "FAILED: $*" >&2
    for log in "$scratch"/*.log "$scratch"/*/participants/*.log; do
        [ -f "$log" ] && { echo "--- $log" >&2; tail -n 20 "$log" >&2; }
    done
    exit 1
}

pass() {
    n_passed=$((n_passed + 1))
    echo "ok: $*"
}

# refused STATUS TEXT COMMAND…: the command exits with STATUS, says TEXT (a regular expression) in
# one sentence of one line on stderr, and neither crashes nor is stopped by a sanitizer.
refused() {
    want=$1 text=$2
    shift 2
    "$@" >out.log 2>err.log
    got=$?
    [ "$got" -eq "$want" ] || fail "exit status $got, not $want: $*
$(cat err.log)"
    grep -Eq "$text" err.log || fail "no '$text' from: $*
$(cat err.log)"
    grep -q "Sanitizer\|runtime error" err.log && fail "a sanitizer report from: $*"
    pass "refused: $(grep -E "$text" err.log | head -n 1)"
}

# until_true SECONDS COMMAND…: polls, for what other processes do.
until_true() {
    deadline=$(($(date +%s) + $1))
    shift
    until "$@" 2>/dev/null; do
        [ "$(date +%s)" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}

# figure FILE PATH: a value of a JSON file, as in: figure summary.json accuracy_percent.dense
figure() {
    python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."):
    value = value[key]
print(json.dumps(value) if not isinstance(value, str) else value)' "$1" "$2"
}

# true when the Python expression over the JSON file (as s) holds
holds() {
    python3 -c '
import json, sys
s = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 1)' "$1" "$2"
}

# make_keys NAME…: authority, coordinator and the named members, and roster.pf
make_keys() {
    "$packfed" keygen --name authority --out keys/authority >/dev/null || fail "keygen"
    "$packfed" keygen --name coordinator --out keys/coordinator >/dev/null || fail "keygen"
    members=""
    for name in "$@"; do
        "$packfed" keygen --name "$name" --out "keys/$name" >/dev/null || fail "keygen $name"
        members="$members --member keys/$name.pub"
    done
    # shellcheck disable=SC2086
    "$packfed" roster create --authority keys/authority.key --federation test \
        --coordinator keys/coordinator.pub $members --out roster.pf >/dev/null || fail "roster"
}

# A network and data small enough for a test under sanitizers.
tiny_network="--filters 8,16 --layers 1,2 --strides 2,2"
tiny_data="--data synthetic --synthetic-images 400"
