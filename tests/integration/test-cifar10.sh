#!/bin/sh
# Real photographs: learning, a disjoint tenth at each of two participants, the array.  Skips where
# PACKFED_CIFAR10 does not name a folder with CIFAR-10's binary batches.
[ -n "${PACKFED_CIFAR10:-}" ] || exit 77
models=$(realpath "$(dirname "$0")/../../models")
. "$(dirname "$0")/lib.sh"

data="--data cifar10 --data-dir $PACKFED_CIFAR10"
# shellcheck disable=SC2086
"$packfed" pretrain $data --filters 8,16 --layers 1,2 --strides 2,2 --epochs 0.4 --json --out dense.pfm \
    >pretrain.json 2>pretrain.log || fail "pretrain"
holds pretrain.json 's["accuracy_percent"] > 22' || fail "nothing was learned: $(cat pretrain.json)"
pass "learns from photographs: $(figure pretrain.json accuracy_percent) %"

# shellcheck disable=SC2086
"$packfed" federation $data --model dense.pfm --participants 3 --fraction 0.1 --partition first \
    --alpha 4,4 --rounds 2 --json --out RUN >run.json 2>federation.log || fail "federation"
grep -q "holds 5000 images" RUN/participants/p01.log || fail "p01 has not a tenth"
grep -q "holds 5000 images" RUN/participants/p02.log || fail "p02 has not a tenth"
pass "each participant holds its tenth"
holds run.json 's["accuracy_percent"]["retrained"] > s["accuracy_percent"]["combined"]' ||
    fail "retraining did not heal: $(cat run.json)"
holds run.json 'abs(s["accuracy_percent"]["array"] - s["accuracy_percent"]["retrained"]) < 3' ||
    fail "8 bits lose too much: $(cat run.json)"
holds run.json 's["array"]["bit_exact"]' || fail "not bit-exact"
pass "retraining heals, the array agrees"

# shellcheck disable=SC2086
"$packfed" combine "$models/cifar10-shift-64-128-256.pfm" --alpha 1,1,1 $data --json -q >model.json || fail "models"
holds model.json '88.2 < s["accuracy_percent"] < 88.5' || fail "models: not as accurate as models/README.md says"
pass "the model to start from is at $(figure model.json accuracy_percent) %"
