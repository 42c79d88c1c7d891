#!/bin/sh
# The whole job on one host: run folder, summary, reproducibility, clean-up.
. "$(dirname "$0")/lib.sh"

run() {
    # shellcheck disable=SC2086
    "$packfed" federation $tiny_network $tiny_data --participants 3 --pretrain-epochs 2 --rounds 3 \
        --alpha 4,4 --batch 32 --seed 5 --array 8x8 --array-alpha 4 "$@"
}

run --out RUN >table.txt 2>federation.log || fail "federation"
for file in run.db dense.pfm combined.pfm retrained.pfm summary.json; do
    [ -s "RUN/$file" ] || fail "no RUN/$file"
done
pass "the run folder is complete"

[ "$(figure RUN/summary.json aggregation)" = secure ] || fail "aggregation"
holds RUN/summary.json 's["participants"] == 3 and s["rounds"] == 3 and s["seed"] == 5' || fail "summary"
holds RUN/summary.json 's["nonzeros"]["packed"] < s["nonzeros"]["dense"]' || fail "nonzeros"
holds RUN/summary.json 's["array"]["combined"]["tiles"] < s["array"]["uncombined"]["tiles"]' || fail "tiles"
holds RUN/summary.json 's["array"]["combined"]["utilisation"] > s["array"]["uncombined"]["utilisation"]' ||
    fail "utilisation"
holds RUN/summary.json 's["array"]["bit_exact"]' || fail "not bit-exact"
holds RUN/summary.json 'all(s["accuracy_percent"][k] is not None for k in
    ("dense", "combined", "retrained", "array"))' || fail "accuracies"
holds RUN/summary.json 's["bytes"]["upload_per_participant"] > 0' || fail "bytes"
pass "the summary has its figures"
for text in "just combined" "8-bit on the array" "cycles per image" "utilisation"; do
    grep -q "$text" table.txt || fail "no '$text' in the table"
done
pass "the table names them"

run --out AGAIN --threads 1 --json >again.json 2>again.log || fail "second run"
cmp RUN/retrained.pfm AGAIN/retrained.pfm || fail "the same seed gave another model"
holds again.json 's["participants"] == 3' || fail "--json"
pass "the same seed gives the same model, whatever the threads"

# Long enough to learn something: at chance level, accuracies say nothing of what was summed.
learning="--pretrain-epochs 15 --local-epochs 4 --synthetic-images 1200"
# shellcheck disable=SC2086
run --out LEARNT $learning --quiet >/dev/null 2>learnt.log || fail "secure run that learns"
# shellcheck disable=SC2086
run --out PLAIN $learning --aggregation plain >plain.txt 2>plain.log || fail "plain run"
[ "$(figure PLAIN/summary.json aggregation)" = plain ] || fail "aggregation of the plain run"
grep -q "the coordinator saw each update" plain.txt || fail "the table of a plain run does not say so"
holds PLAIN/summary.json 's["accuracy_percent"]["retrained"] > 30' || fail "nothing was learnt"
holds PLAIN/summary.json 'abs(s["accuracy_percent"]["retrained"] -
    json.load(open("LEARNT/summary.json"))["accuracy_percent"]["retrained"]) < 3' || fail "plain and secure differ"
pass "a plain run says that it is one, and comes to the same within rounding"
refused 1 "participants.*--aggregation plain" run --out TWO --participants 2

run --out OTHER --seed 6 --quiet >/dev/null 2>other.log || fail "third run"
cmp -s RUN/retrained.pfm OTHER/retrained.pfm && fail "another seed gave the same model"
pass "another seed gives another model"

# --- distillation from the dense model, the default
run --out TAUGHT --distill 0.9 --quiet >/dev/null 2>taught.log || fail "distilled run"
run --out UNTAUGHT --distill 0 >untaught.txt 2>untaught.log || fail "run from labels alone"
cmp TAUGHT/retrained.pfm RUN/retrained.pfm || fail "--distill 0.9 is not the default"
cmp UNTAUGHT/dense.pfm RUN/dense.pfm || fail "another dense model"
cmp -s UNTAUGHT/retrained.pfm RUN/retrained.pfm && fail "distillation changed nothing"
holds UNTAUGHT/summary.json 's["distill"] == 0' || fail "distill of a run without"
holds TAUGHT/summary.json 's["distill"] == 0.9' || fail "distill of a distilled run"
grep -q "distilled from the dense model, weight 0.9" table.txt || fail "the table does not say so"
grep -q "distilled" untaught.txt && fail "the table speaks of a teacher that was not heard"
"$packfed" inspect --json TAUGHT >inspected.json || fail "inspect"
holds inspected.json '(s["run"]["distill_weight"], s["run"]["distill_temperature"],
    s["summary"]["distill"]) == ("0.9", "4", 0.9)' || fail "what inspect says"
pass "participants distil from the dense model"
"$packfed" pretrain $tiny_network $tiny_data --epochs 1 --seed 5 --teacher TAUGHT/dense.pfm --out taught.pfm \
    --json >pretrain.json 2>pretrain.log || fail "pretrain with a teacher"
holds pretrain.json 's["distill"] == 0.9' || fail "distill of pretrain"
"$packfed" pretrain $tiny_network $tiny_data --epochs 1 --seed 5 --out alone.pfm --quiet >/dev/null || fail "pretrain"
"$packfed" pretrain $tiny_network $tiny_data --epochs 1 --seed 5 --teacher TAUGHT/dense.pfm --distill 0 \
    --out unheard.pfm --quiet >/dev/null || fail "pretrain with an unheard teacher"
cmp -s taught.pfm alone.pfm && fail "a teacher changed nothing"
cmp alone.pfm unheard.pfm || fail "a teacher without weight changed something"
pass "pretrain distils from a model file"
refused 2 "distill: '1.5'" run --out BAD --distill 1.5
refused 2 "distill-temperature: '0'" run --out BAD --distill 0.9 --distill-temperature 0
refused 2 "distill is about a --teacher" "$packfed" pretrain $tiny_data --distill 0.5 --out m.pfm
echo "no model" >junk.pfm
refused 1 "junk.pfm: not a packfed model file" "$packfed" pretrain $tiny_data --teacher junk.pfm --out m.pfm

refused 1 "RUN: .*(not empty|exists)" run --out RUN
# --- all participants gone: there is nothing to wait for, least of all --join-timeout
# shellcheck disable=SC2086
"$packfed" federation $tiny_network $tiny_data --participants 3 --pretrain-epochs 1 --rounds 50 \
    --alpha 4,4 --local-epochs 20 --out GONE >/dev/null 2>gone.log &
gone=$!
background="$background $gone"
trains() { grep -q training GONE/participants/p03.log; }
until_true 60 trains || fail "no training in GONE"
# shellcheck disable=SC2046
kill -9 $(pgrep -P "$gone") || fail "no participants to kill"
ended() { ! kill -0 "$gone"; }
until_true 20 ended || fail "the federation waits for participants that are gone"
wait "$gone" && fail "a federation without participants succeeded"
grep -q "federation: all participants have ended.*GONE/participants" gone.log || fail "no word of why"
pass "a federation whose participants are all gone ends: $(tail -n 1 gone.log)"

pgrep -f "$scratch" >/dev/null && fail "processes were left behind"
pass "nobody is left behind"
