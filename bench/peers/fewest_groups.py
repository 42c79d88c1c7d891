#!/usr/bin/python3
"""The fewest groups that a 0/1 matrix on standard input needs without conflicts, exactly.

    build/release/bench/bench_packers --matrix 96 94 0.16 0 | bench/peers/fewest_groups.py [ALPHA [SECONDS]]

Lists every set of at most ALPHA (8) columns of which no two share a row, and asks an integer programme
(HiGHS, of python3-scipy) for the fewest that hold all columns.  Feasible where such sets are few: sparse
compatibility, as at gamma = 0 of the benchmark.  Prints one JSON line: the optimum, what is proved of it,
and the bound of the linear programme.
"""
import json
import sys

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csc_matrix


def compatible_sets(matrix, alpha):
    """Every set of up to alpha columns without a common row, as ascending tuples."""
    fits = (matrix.T @ matrix) == 0
    later = [{j for j in range(i + 1, len(fits)) if fits[i, j]} for i in range(len(fits))]
    sets = []
    stack = [((i,), later[i]) for i in range(len(fits))]
    while stack:
        columns, candidates = stack.pop()
        sets.append(columns)
        if len(columns) < alpha:
            stack.extend((columns + (j,), candidates & later[j]) for j in candidates)
    return sets


def main():
    alpha = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 300
    matrix = np.array([[int(c) for c in line.strip()] for line in sys.stdin])
    matrix = matrix[:, matrix.any(axis=0)]
    sets = compatible_sets(matrix, alpha)
    rows = [column for columns in sets for column in columns]
    places = [i for i, columns in enumerate(sets) for _ in columns]
    holds = csc_matrix((np.ones(len(rows)), (rows, places)), shape=(matrix.shape[1], len(sets)))
    every = LinearConstraint(holds, 1, np.inf)
    count, within = np.ones(len(sets)), Bounds(0, 1)
    relaxed = milp(count, constraints=every, bounds=within)
    whole = milp(count, constraints=every, bounds=within, integrality=count,
                 options={"time_limit": seconds})
    print(json.dumps({"sets": len(sets),
                      "groups": None if whole.fun is None else round(whole.fun),
                      "at_least": int(np.ceil(whole.mip_dual_bound - 1e-6)),
                      "linear_programme": round(relaxed.fun, 3)}))


main()
