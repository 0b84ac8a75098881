#!/usr/bin/env python3
"""Damages shares in many small ways, and writes down which of it scrub_prototype.py finds.

    python make_flips.py shares --seed 1 --flips 4 > flips.json

One object for each share: its path below shares/, and lists of [region, bit, found] (one bit flipped, counted from the
start of the file), [length, found] (cut to this length) and [offset, found] (512 bytes from there set to zero).
"""
import argparse, json, os, random, sys

# Nothing is left beside the data.
sys.dont_write_bytecode = True
from scrub_prototype import check, walk

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("shares")
p.add_argument("--seed", type=int, default=1)
p.add_argument("--flips", type=int, default=4, help="per region and share; 2 for shares over 200 kB")
a = p.parse_args()
rng = random.Random(a.seed)
rows = []
for path, number in walk(a.shares):
    with open(path, "rb") as f:
        raw = f.read()
    problems, regions = check(raw, number)
    if problems:
        sys.exit(f"{path}: {problems}")
    found = lambda b: bool(check(bytes(b), number)[0])
    flips, cuts, zeros = [], [], []
    for name, start, end in regions:
        for _ in range(min(a.flips if len(raw) <= 200_000 else 2, 8 * (end - start))):
            bit = 8 * rng.randrange(start, end) + rng.randrange(8)
            b = bytearray(raw)
            b[bit // 8] ^= 1 << bit % 8
            flips.append([name, bit, found(b)])
    for length in sorted({0, 11, 12, 100, 467, 468, len(raw) - 1, rng.randrange(len(raw)), rng.randrange(len(raw))}):
        if length < len(raw):
            cuts.append([length, found(raw[:length])])
    for _ in range(2):
        at = 512 * rng.randrange(len(raw) // 512 + 1)
        b = bytearray(raw)
        b[at:at + 512] = bytes(len(b[at:at + 512]))
        # What was zero before has not changed.
        if b != raw:
            zeros.append([at, found(b)])
    rows.append({"share": os.path.relpath(path, a.shares), "flips": flips, "cuts": cuts, "zeros": zeros})
print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")
