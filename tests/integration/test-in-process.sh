#!/bin/sh
# packfed federation --in-process: secure and plain sums of many, dropouts at each step, a bad line,
# and what is refused.
. "$(dirname "$0")/lib.sh"

simulate() {
    "$packfed" federation --in-process --json --quiet "$@" >out.json 2>err.log ||
        fail "exit status $? of: $*
$(cat err.log)"
}

equals() {
    got=$(figure out.json "$1")
    [ "$got" = "$2" ] || fail "$1 is $got, not $2"
}

simulate --participants 12 --dimension 2000 --rounds 2
equals success true
equals rounds.completed 2
equals sums_compared 2
equals updates_counted 24
equals secure.graph complete
pass "12 participants, complete graph"

simulate --participants 110 --dimension 500 --max-dropout 0.05
equals secure.graph regular
equals sums_compared 1
equals updates_counted 110
pass "110 participants, regular graph"

for step in advertise share mask consent unmask any; do
    simulate --participants 15 --dimension 500 --dropouts 0.2 --drop-at $step
    equals sums_compared 1
    [ $step = any ] || equals steps.$step.dropouts 3
    pass "three of 15 drop out: $step"
done

simulate --participants 9 --dimension 500 --loss 0.05 --repeats 0.1 --late 0.1 --rounds 3
equals sums_compared 3
pass "a line that loses, repeats and delays frames"

simulate --participants 9 --dimension 500 --rounds 2 --seed 5
first=$(figure out.json fingerprint)
simulate --participants 9 --dimension 500 --rounds 2 --seed 5
equals fingerprint "$first"
simulate --participants 9 --dimension 500 --rounds 2 --seed 6
[ "$(figure out.json fingerprint)" != "$first" ] || fail "two seeds, one course"
pass "the sums follow from the seed"

simulate --participants 9 --dimension 500 --aggregation plain --dropouts 0.2
equals aggregation plain
equals sums_compared 1
equals updates_counted 8
pass "plain sums"

simulate --participants 9 --dimension 2000 --rounds 3
alone=$(figure out.json bytes.download_mean)
simulate --participants 9 --dimension 2000 --rounds 3 --distill 0.5
equals sums_compared 3
# One file of 2,000 floats more, not three.
holds out.json "7000 < s['bytes']['download_mean'] - $alone < 12000" || fail "download: $alone without a teacher
$(cat out.json)"
pass "a teacher is fetched once in a run"

"$packfed" federation --in-process --participants 6 --dimension 500 --quiet >out.log ||
    fail "no table"
grep -q "sums equal to the plain ones, bit for bit: 1 of 1" out.log || fail "$(cat out.log)"
pass "a table"

run="$packfed federation --in-process --quiet --participants 12 --dimension 500"
# Half of them gone: a threshold cannot be met, and the run says so.
refused 1 "abandoned" $run --dropouts 0.7 --drop-at mask --max-failed-rounds 1
refused 2 "drop-at says where" $run --drop-at mask
refused 2 "no such step" $run --aggregation plain --dropouts 0.1 --drop-at share
refused 2 "complete graphs need no randomness" $run --dropouts 0.1 --drop-at reveal
refused 2 "none of advertise" $run --dropouts 0.1 --drop-at nowhere
refused 2 "min-cohort" $run --min-cohort 13
refused 2 "unrecognized option" $run --data cifar10
refused 2 "goes with --in-process" "$packfed" federation --dimension 100
refused 2 "1 to 10000" "$packfed" federation --in-process --participants 10001
refused 2 "a sum of fewer than 3" "$packfed" federation --in-process --participants 2
echo "$n_passed passed"
