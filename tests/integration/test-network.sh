#!/bin/sh
# Coordinator and participants started by hand, as on several hosts, with secure aggregation; one is
# killed in mid-round and comes back.
. "$(dirname "$0")/lib.sh"

make_keys alice bob carol dave erin
# shellcheck disable=SC2086
"$packfed" pretrain $tiny_network $tiny_data --epochs 2 --seed 3 --out dense.pfm >/dev/null 2>pretrain.log ||
    fail "pretrain"

# shellcheck disable=SC2086
"$packfed" coordinator --identity keys/coordinator.key --roster roster.pf --authority keys/authority.pub \
    --model dense.pfm --listen tcp://127.0.0.1:0 --out RUN --alpha 4,4 --rounds 8 --batch 8 \
    --local-epochs 100 --min-cohort 4 --quorum 4 --liveness 3 --round-timeout 60 --join-timeout 60 \
    $tiny_data --seed 3 >coordinator.out 2>coordinator.log &
coordinator=$!
background="$background $!"
until_true 30 test -s RUN/endpoint || fail "the coordinator does not listen"
endpoint=$(cat RUN/endpoint)

join() {
    # shellcheck disable=SC2086
    "$packfed" participant --identity "keys/$1.key" --roster roster.pf --authority keys/authority.pub \
        --connect "$endpoint" $tiny_data --partition iid --part "$2/5" --fraction 0.2 --threads 1 --seed 3 \
        >>"$1.log" 2>&1 &
    background="$background $!"
}
join alice 1
alice=$!
join bob 2
bob=$!
join carol 3
carol=$!
join dave 4
dave=$!
join erin 5
erin=$!

trained() { grep -q "training" carol.log; }
until_true 60 trained || fail "carol does not train"
kill -9 "$carol"
wait "$carol" 2>/dev/null
dropped() { sqlite_events | grep -q "carol dropped"; }
sqlite_events() {
    python3 -c '
import sqlite3
db = sqlite3.connect("file:RUN/run.db?mode=ro", uri=True)
for row in db.execute("SELECT text FROM events"): print(row[0])'
}
until_true 60 dropped || fail "carol is not named as dropped: $(sqlite_events)"
pass "a participant killed in mid-round is dropped by name: $(sqlite_events | grep "carol dropped")"

join carol 3
carol=$!
wait "$coordinator" || fail "the coordinator failed: $(tail -n 3 coordinator.log)"
wait "$alice" || fail "alice failed"
wait "$bob" || fail "bob failed"
wait "$carol" || fail "carol failed after her return"
wait "$dave" || fail "dave failed"
wait "$erin" || fail "erin failed"
pass "the run ends well for all, also for who came back"
[ -s RUN/retrained.pfm ] || fail "no retrained model"
rounds=$(python3 -c '
import sqlite3
db = sqlite3.connect("file:RUN/run.db?mode=ro", uri=True)
print(db.execute("SELECT COUNT(*) FROM rounds WHERE included >= 4").fetchone()[0])')
[ "$rounds" -ge 8 ] || fail "$rounds rounds counted, not 8"
pass "all rounds are counted in run.db"

# The ledger: what was joined, and the one survivor set per round that was consented to.
python3 - <<'END' || fail "the ledger of alice"
import sqlite3
rows = sqlite3.connect("file:keys/alice.state/participant.db?mode=ro", uri=True).execute(
    "SELECT outcome, length(survivors) FROM rounds").fetchall()
assert len(rows) >= 8 and sum(bytes == 32 for _, bytes in rows) >= 8, rows
END
pass "the ledger keeps the survivor sets that were consented to"
for name in alice bob carol dave erin; do
    grep -Eiq "loss|examples|correct|norm" "$name.log" && fail "$name.log tells figures of the training"
done
pass "no participant's log tells a figure of its training"
