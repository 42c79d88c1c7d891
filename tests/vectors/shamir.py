#!/usr/bin/env python3
"""Known answers of Shamir's sharing over the scalar field of ristretto255, by plain integers.

Prints the table that stands in tests/unit/secagg/test_shamir.c.  Secrets and polynomials are
SHA-512 of their names, so that anybody gets the same numbers."""
import hashlib

L = 2**252 + 27742317777372353535851937790883648493


def scalar(name):
    return int.from_bytes(hashlib.sha512(name.encode()).digest(), "little") % L


def interpolate(points, at):
    total = 0
    for i, (xi, yi) in enumerate(points):
        numerator, denominator = 1, 1
        for j, (xj, _) in enumerate(points):
            if i != j:
                numerator = numerator * (at - xj) % L
                denominator = denominator * (xi - xj) % L
        total += yi * numerator * pow(denominator, -1, L)
    return total % L


def case(xs, name):
    # Any n values lie on one polynomial of degree n - 1; its value at 0 is what counts.
    ys = [scalar(f"{name} {x}") for x in xs]
    secret = interpolate(list(zip(xs, ys)), 0)
    print(f"    {{{len(xs)}, {{{', '.join(f'{x}u' for x in xs)}}},")
    print("     {" + ",\n      ".join(f'"{y.to_bytes(32, "little").hex()}"' for y in ys) + "},")
    print(f'     "{secret.to_bytes(32, "little").hex()}"}},')


def line():
    # A polynomial of degree 2 that is given: f(x) = 7 + 5x - x^2.
    xs = [1, 3, 4]
    ys = [(7 + 5 * x - x * x) % L for x in xs]
    assert interpolate(list(zip(xs, ys)), 0) == 7
    print("    {3, {1u, 3u, 4u},")
    print("     {" + ",\n      ".join(f'"{y.to_bytes(32, "little").hex()}"' for y in ys) + "},")
    print(f'     "{(7).to_bytes(32, "little").hex()}"}},')


line()
case([1], "one share")
case([2, 1], "two shares")
case([5, 1, 4, 2, 9], "five shares")
case([10000, 9999, 1, 4294967295, 4294967294, 2147483648], "far shares")
