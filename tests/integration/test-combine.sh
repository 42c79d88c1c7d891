#!/bin/sh
# packfed combine: every packer, the bounds beside them, and the table of a sweep.
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2086
"$packfed" pretrain $tiny_data --filters 16,32 --layers 2,2 --strides 1,2 --epochs 0.1 --out dense.pfm \
    >/dev/null 2>pretrain.log || fail "pretrain"

# --- every packer obeys the bounds, and one that searches repeats itself
for packer in kept-weight published dense-first iterated; do
    "$packfed" combine dense.pfm --alpha 4,8 --packer $packer --json --out $packer.pfm >$packer.json || fail "$packer"
    holds $packer.json "s['packer'] == '$packer'" || fail "$packer: name"
    holds $packer.json 's["combined_layers"]["columns"]["bound"] <= s["combined_layers"]["columns"]["after"]' ||
        fail "$packer: columns below the bound"
    holds $packer.json 's["combined_layers"]["weight_kept"] <= s["combined_layers"]["weight_bound"]' ||
        fail "$packer: more weight than there is"
    holds $packer.json 's["switching"]["as_combined"]["misplaced"] == 0 < s["switching"]["as_grouped"]["misplaced"]' ||
        fail "$packer: switches"
done
"$packfed" combine dense.pfm --alpha 4,8 --out again.pfm >/dev/null || fail "again"
cmp kept-weight.pfm again.pfm || fail "the same seed gave another model"
"$packfed" combine dense.pfm --alpha 2,2 --packer matching --json >matching.json || fail "matching"
"$packfed" combine dense.pfm --alpha 2,2 --json >pairs.json || fail "pairs"
python3 -c '
import json
kept = [json.load(open(name))["combined_layers"]["weight_kept"] for name in ("matching.json", "pairs.json")]
assert kept[0] >= kept[1] - 1e-6, kept' || fail "matching keeps less than a search"
refused 2 "matching.*alpha = 8.*kept-weight" "$packfed" combine dense.pfm --packer matching
refused 2 "packer.*'best'.*kept-weight" "$packfed" combine dense.pfm --packer best
refused 2 "saliency.*'love'" "$packfed" combine dense.pfm --saliency love
refused 2 "tile-slack" "$packfed" combine dense.pfm --tile-slack 2

# --- a packed model can be trained on, in one process, with the dense one as teacher
# shellcheck disable=SC2086
"$packfed" pretrain $tiny_data --model kept-weight.pfm --teacher dense.pfm --epochs 0.2 --json --out trained.pfm \
    >trained.json 2>trained.log || fail "training a packed model"
"$packfed" inspect kept-weight.pfm --json >before.json && "$packfed" inspect trained.pfm --json >after.json ||
    fail "inspect"
python3 -c '
import json
before, after = (json.load(open(name)) for name in ("before.json", "after.json"))
assert before["network"] == after["network"] and before["hash"] != after["hash"]
assert before["nonzeros"] == after["nonzeros"], (before, after)' || fail "training changed the packing"
refused 1 "missing.pfm" "$packfed" pretrain $tiny_data --model missing.pfm --out x.pfm

# --- without the row permutation there is something to switch
"$packfed" combine dense.pfm --alpha 4,8 --no-row-permutation >table.txt || fail "table"
grep -q "do not leave one where the next reads them" table.txt || fail "table: switches"
grep -q "at least" table.txt || fail "table: bounds"

# --- a sweep
"$packfed" combine dense.pfm --sweep alpha=1,2,4 gamma=0,.5 density=.2 --out sweep.csv >sweep.txt || fail "sweep"
[ "$(wc -l <sweep.csv)" -eq 7 ] || fail "sweep.csv: lines"
[ "$(wc -l <sweep.txt)" -eq 7 ] || fail "sweep: lines"
python3 -c '
import csv
rows = list(csv.DictReader(open("sweep.csv")))
assert [(r["alpha"], r["gamma"]) for r in rows] == [(a, g) for a in "124" for g in ("0", "0.5")]
assert rows[0]["density"] == "1" and all(r["density"] == "0.2" for r in rows[2:])
for r in rows:
    assert int(r["columns_bound"]) <= int(r["columns"]) <= int(r["columns_before"])
    assert r["accuracy_percent"] == ""
for r in rows[2::2]:
    assert float(r["gamma"]) == 0
assert int(rows[5]["columns"]) < int(rows[4]["columns"])' || fail "sweep.csv: figures"
# shellcheck disable=SC2086
"$packfed" combine dense.pfm --alpha 1,8 --sweep alpha=8 $tiny_data --data synthetic --json -q >sweep.json || fail "sweep --json"
holds sweep.json 'len(s["points"]) == 1 and 0 <= s["points"][0]["accuracy_percent"] <= 100' || fail "sweep --json: figures"
refused 2 "one α for all" "$packfed" combine dense.pfm --alpha 4,8 --sweep gamma=0,1
refused 2 "nothing to sweep" "$packfed" combine dense.pfm --alpha 1,1 --sweep gamma=0,1
if [ -c /dev/full ]; then
    "$packfed" combine dense.pfm >/dev/full 2>err.log && fail "a full disk was not noticed"
    grep -q "standard output" err.log || fail "full disk: $(cat err.log)"
fi
refused 2 "alpha.*'x'" "$packfed" combine dense.pfm --sweep alpha=1,x
refused 2 "alpha=LIST, gamma=LIST" "$packfed" combine dense.pfm --sweep beta=1
refused 2 "makes pairs" "$packfed" combine dense.pfm --packer matching --sweep alpha=2,4
"$packfed" combine dense.pfm --packer matching --sweep alpha=1,2 >/dev/null || fail "sweep of pairs"
refused 1 "no/such/table.csv" "$packfed" combine dense.pfm --sweep alpha=2 --out no/such/table.csv
