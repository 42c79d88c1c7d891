#!/usr/bin/env python3
"""Known answers of common/secagg/protocol.c's keys, for tests/unit/secagg/test_protocol.c.

Written from docs/protocol.md with hashlib and X25519 by RFC 7748: no libsodium.
"""
from hashlib import blake2b

P = 2**255 - 19


def x25519(secret, public):
    k = int.from_bytes(secret, "little") & ~(7 | 1 << 255) | 1 << 254
    x1 = int.from_bytes(public, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def digest(label, *fields, key=b""):
    return blake2b(label.encode().ljust(32, b"\0") + b"".join(fields), digest_size=32, key=key).digest()


def u32(value):
    return value.to_bytes(4, "little")


def agreed(label, own, peer_public, *fields):
    both = sorted([x25519(own, BASE), peer_public])
    return digest(label, *both, *fields, key=x25519(own, peer_public))


BASE = b"\x09".ljust(32, b"\0")
seed, context, key_list = bytes([7] * 31 + [0]), b"\1" * 32, b"\2" * 32
one, two = bytes(range(32)), bytes(range(100, 132))
two_public = x25519(two, BASE)
print("mask secret", digest("packfed mask secret 1", seed).hex())
print("self mask  ", digest("packfed self mask 1", context, key=seed).hex())
print("pair mask  ", agreed("packfed pair mask 1", one, two_public, u32(3), u32(9), context, key_list).hex())
print("share key  ", agreed("packfed share key 1", one, two_public, context, key_list).hex())
