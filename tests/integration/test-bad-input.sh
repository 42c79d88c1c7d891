#!/bin/sh
# What a person or a disk can get wrong, each answered with a sentence, and nothing lost.
. "$(dirname "$0")/lib.sh"

# --- data
mkdir cifar
for i in 1 2 3 4 5; do head -c 30730 /dev/zero >"cifar/data_batch_$i.bin"; done
head -c 3073 /dev/zero >cifar/test_batch.bin
pretrain="$packfed pretrain --data cifar10 --data-dir cifar --filters 4 --layers 1 --strides 2 --epochs 1 --batch 4"
head -c 30000 /dev/zero >cifar/data_batch_2.bin
refused 1 "data_batch_2.bin.*3,?073" $pretrain --out m.pfm
head -c 30740 /dev/zero >cifar/data_batch_2.bin
refused 1 "data_batch_2.bin.*3,?073" $pretrain --out m.pfm
head -c 30730 /dev/zero | tr '\0' '\13' >cifar/data_batch_2.bin
refused 1 "data_batch_2.bin.*label 11" $pretrain --out m.pfm
rm cifar/data_batch_2.bin
refused 1 "data_batch_2.bin" $pretrain --out m.pfm
[ ! -e m.pfm ] || fail "a model was written from bad data"
refused 2 "data-dir" "$packfed" pretrain --data cifar10 --out m.pfm

# --- models
# shellcheck disable=SC2086
"$packfed" pretrain $tiny_network $tiny_data --epochs 0.1 --out dense.pfm >/dev/null 2>pretrain.log ||
    fail "pretrain"
size=$(wc -c <dense.pfm)
head -c $((size / 2)) dense.pfm >half.pfm
refused 1 "half.pfm.*cut short" "$packfed" inspect half.pfm
refused 1 "half.pfm.*cut short" "$packfed" evaluate half.pfm --no-accuracy
python3 -c '
data = bytearray(open("dense.pfm", "rb").read())
data[len(data) // 2] ^= 4
open("flipped.pfm", "wb").write(data)'
refused 1 "flipped.pfm.*damaged" "$packfed" inspect flipped.pfm
refused 1 "flipped.pfm.*damaged" "$packfed" combine flipped.pfm --out c.pfm
refused 1 "missing.pfm" "$packfed" evaluate missing.pfm --no-accuracy

# --- options
refused 2 "alpha.*'0'" "$packfed" combine dense.pfm --alpha 0,4 --out c.pfm
refused 2 "alpha.*3 numbers.*2 blocks" "$packfed" combine dense.pfm --alpha 4,4,4 --out c.pfm
refused 2 "gamma" "$packfed" combine dense.pfm --alpha 4,4 --gamma nan --out c.pfm
refused 2 "layer-type.*'dense3'.*shift, conv3x3" "$packfed" pretrain --layer-type dense3 --out m.pfm
refused 2 "array" "$packfed" evaluate dense.pfm --array 0x32
refused 2 "as many" "$packfed" pretrain --filters 4,8 --layers 1,1,1 --strides 1,2,2 --out m.pfm
refused 2 "no command" "$packfed" federate

# --- keys and roster
make_keys alice
"$packfed" keygen --name mallory --out keys/mallory >/dev/null
"$packfed" keygen --name authority --out keys/other >/dev/null
participant="$packfed participant --roster roster.pf --connect tcp://127.0.0.1:9 $tiny_data"
refused 1 "roster.pf.*signed by.*expected" $participant --identity keys/alice.key --authority keys/other.pub
refused 1 "mallory.*roster" $participant --identity keys/mallory.key --authority keys/authority.pub
chmod 644 keys/alice.key
refused 1 "alice.key.*chmod 600" $participant --identity keys/alice.key --authority keys/authority.pub
chmod 600 keys/alice.key
refused 1 "alice" "$packfed" keygen --name alice --out keys/alice
cp roster.pf tampered.pf
python3 -c '
data = bytearray(open("roster.pf", "rb").read())
at = data.find(b"alice")
data[at] ^= 1
open("tampered.pf", "wb").write(data)'
refused 1 "tampered.pf" "$packfed" roster show tampered.pf --authority keys/authority.pub

# --- the coordinator's surroundings
coordinator="$packfed coordinator --identity keys/coordinator.key --roster roster.pf --authority keys/authority.pub
    --model dense.pfm --no-evaluation --alpha 4,4 --rounds 2 --min-cohort 1 --quorum 1 --aggregation plain"
# --- what secure sums cannot be
refused 1 "sum of fewer than 3 hides nothing" $coordinator --aggregation secure --listen tcp://127.0.0.1:0 --out RUN0
refused 2 "update-bits" "$packfed" federation --update-bits 40 --out RUN0
refused 2 "aggregation.*neither" "$packfed" federation --aggregation maybe --out RUN0
refused 2 "cannot be" "$packfed" federation --in-process --participants 30 --graph regular --max-corrupt 0.7 --max-dropout 0.4
[ ! -e RUN0 ] || fail "a run folder was made for a run that cannot be"
python3 -c '
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen()
open("port.tmp", "w").write(str(s.getsockname()[1]))
import os
os.rename("port.tmp", "port")
time.sleep(600)' &
background="$background $!"
until_true 20 test -s port || fail "no port"
refused 1 "$(cat port).*in use" $coordinator --listen "tcp://127.0.0.1:$(cat port)" --out RUN1
alice="$participant --identity keys/alice.key --authority keys/authority.pub"
refused 1 "tcp://127.0.0.1:0: the port.*'0'" $alice --connect tcp://127.0.0.1:0
refused 1 "tcp://127.0.0.1:99999: the port.*'99999'" $alice --connect tcp://127.0.0.1:99999
refused 1 "::1:7700: not an address" $alice --connect tcp://::1:7700
refused 1 "no word from the coordinator for 0.5 s" $alice --connect tcp://127.0.0.1:9 --give-up 0.5
refused 1 "the port.*'99999'" $coordinator --listen tcp://127.0.0.1:99999 --out RUN0
[ ! -e RUN0 ] || fail "a run folder was made for an address that cannot be"
# Above the limit on the size of files a write fails; SIGXFSZ must not end the program without a word.
(ulimit -f 20 && refused 1 "LIMIT/run.db" $coordinator --listen tcp://127.0.0.1:0 --out LIMIT) || exit 1
refused 1 "keys/alice.key" $coordinator --listen tcp://127.0.0.1:0 --identity keys/alice.key --out RUN2
refused 1 "proc/no" $coordinator --listen tcp://127.0.0.1:0 --out /proc/no/RUN3
mkdir full
echo keep >full/mine
refused 1 "full" $coordinator --listen tcp://127.0.0.1:0 --out full
[ "$(cat full/mine)" = keep ] || fail "a file was lost"
refused 1 "alice|1 member|join" $coordinator --listen tcp://127.0.0.1:0 --join-timeout 1 --out RUN4
pass "a run that nobody joins ends with a sentence"
echo "$n_passed checks"
