#!/usr/bin/env python3
"""What a storage server can check of a share with no capability at all: the rules as a program, with Tahoe-LAFS's own
modules for hashes, trees and keys.

    python scrub_prototype.py shares              # check every share
    python scrub_prototype.py shares --flips 40   # + flip bits, by region

check(bytes, shnum) returns (problems, regions): problems is a list of words, empty if all is well; regions is
[(name, start, end)], in file offsets, covering the whole file.
"""
import argparse, collections, os, random, struct, sys

from allmydata.crypto import rsa
from allmydata.crypto.error import BadSignature
from allmydata.hashtree import HashTree, IncompleteHashTree, BadHashError, NotEnoughHashesError
from allmydata.storage.mutable_schema import schema_from_header
from allmydata.uri import pack_extension, unpack_extension
from allmydata.util.hashutil import block_hash

UEB_INT = ("size", "segment_size", "num_segments", "needed_shares", "total_shares")
UEB_HASH = ("crypttext_hash", "crypttext_root_hash", "share_root_hash")


class Bad(Exception):
    pass


def need(cond, what):
    if not cond:
        raise Bad(what)


def ceil_div(a, b):
    return -(-a // b)


def pow2(n):
    return 1 << max(0, n - 1).bit_length()


def split32(b):
    return [b[i:i + 32] for i in range(0, len(b), 32)]


def full_tree(stored, leaves, what):
    """every node of a stored complete tree must be what its leaves make it"""
    need(list(HashTree(leaves)) == stored, what)


def climb(n_shares, shnum, chain, leaf, root, with_leaf, what):
    """the stored share hash chain must lead from our block tree root to the share root"""
    t = IncompleteHashTree(n_shares)
    need(shnum < n_shares, what + ": share number")
    need(set(chain) == set(t.needed_hashes(shnum, include_leaf=with_leaf)), what + ": node numbers")
    try:
        t.set_hashes({0: root})
        t.set_hashes(dict(chain), leaves={shnum: leaf})
    except (BadHashError, NotEnoughHashesError, IndexError):
        raise Bad(what)


def pairs34(b, what):
    need(len(b) % 34 == 0, what + ": length")
    out = [(struct.unpack(">H", b[i:i + 2])[0], b[i + 2:i + 34]) for i in range(0, len(b), 34)]
    need(len(dict(out)) == len(out), what + ": doubled node")
    return dict(out)


def check_immutable(raw, shnum, reg):
    need(len(raw) >= 12, "container: short")
    version, datalen, nleases = struct.unpack(">LLL", raw[:12])
    need(version in (1, 2), "container: version")
    reg("container header", 0, 12)
    end = len(raw) - 72 * nleases
    need(end >= 12, "container: lease count")
    reg("leases", end, len(raw))
    s, base = raw[12:end], 12
    need(datalen == min(len(s), 2**32 - 1) or datalen == len(s) % 2**32, "container: length field")
    need(len(s) >= 0x24, "layout: short")
    layout, = struct.unpack(">L", s[:4])
    need(layout in (1, 2), "layout: version")
    fmt, head, word = ((">8L", 0x24, 4), (">8Q", 0x44, 8))[layout - 1]
    need(len(s) >= head, "layout: short")
    bs, ds, data, pt, ct, bh, sh, ue = struct.unpack(fmt, s[4:head])
    reg("layout: version, offsets", base, base + head)
    need(data == head and data <= pt <= ct <= bh <= sh <= ue and ue + word <= len(s), "layout: offsets")
    for name, a, b in (("data blocks", data, pt), ("plaintext tree (unused)", pt, ct), ("crypttext hash tree", ct, bh),
                       ("block hash tree", bh, sh), ("share hash chain", sh, ue), ("UEB length", ue, ue + word)):
        reg(name, base + a, base + b)
    n, = struct.unpack(">L" if word == 4 else ">Q", s[ue:ue + word])
    need(ue + word + n == len(s), "UEB: length")
    ueb = s[ue + word:]
    try:
        u = unpack_extension(ueb)
        need(pack_extension(u) == ueb, "UEB: form")
        k, N = u["needed_shares"], u["total_shares"]
        size, seg, nseg = u["size"], u["segment_size"], u["num_segments"]
        need(all(len(u[h]) == 32 for h in UEB_HASH), "UEB: hash length")
        cp, tp = u["codec_params"], u["tail_codec_params"]
        old = {"plaintext_hash", "plaintext_root_hash"}        # only the earliest versions wrote these
        need(set(u) - old == set(UEB_INT + UEB_HASH + ("codec_name", "codec_params", "tail_codec_params")), "UEB: keys")
    except Bad:
        raise
    except Exception:
        raise Bad("UEB: form")
    at = base + ue + word               # of the UEB in the file; its hashes as regions of their own
    cuts = sorted((at + ueb.index(h.encode() + b":32:") + len(h) + 4, h) for h in UEB_HASH)
    for start, h in cuts:
        reg("UEB, the rest", at, start)
        reg("UEB " + h, start, start + 32)
        at = start + 32
    reg("UEB, the rest", at, base + len(s))
    need(u["codec_name"] == b"crs", "UEB: codec")
    need(1 <= k <= N <= 256 and size > 0 and seg > 0 and seg % k == 0, "UEB: parameters")
    need(nseg == ceil_div(size, seg), "UEB: number of segments")
    tail = size - seg * (nseg - 1)
    tail_padded = ceil_div(tail, k) * k
    need(cp == b"%d-%d-%d" % (seg, k, N) and tp == b"%d-%d-%d" % (tail_padded, k, N), "UEB: codec parameters")
    block, tail_block = seg // k, tail_padded // k
    want = block * (nseg - 1) + tail_block
    need(bs == block and ds == want and pt - data == want, "layout: data size")
    tree = 32 * (2 * pow2(nseg) - 1)
    need(ct - pt == tree and bh - ct == tree and sh - bh == tree, "layout: tree sizes")
    plain = s[pt:ct]
    if "plaintext_root_hash" in u:
        p = split32(plain)
        full_tree(p, p[len(p) // 2:][:nseg], "plaintext tree")
        need(p[0] == u["plaintext_root_hash"], "plaintext root")
    else:
        need(not plain.strip(b"\0"), "plaintext tree: not zero")
    c = split32(s[ct:bh])
    full_tree(c, c[len(c) // 2:][:nseg], "crypttext hash tree")
    need(c[0] == u["crypttext_root_hash"], "crypttext root")
    blocks = [s[data + i * block: data + min((i + 1) * block, want)] for i in range(nseg)]
    b = split32(s[bh:sh])
    full_tree(b, [block_hash(x) for x in blocks], "block hash tree")
    chain = pairs34(s[sh:ue], "share hash chain")
    climb(N, shnum, chain, b[0], u["share_root_hash"], True, "share hash chain")
    return ueb


def check_mutable(raw, shnum, reg):
    need(len(raw) >= 468, "container: short")
    dlen, xoff = struct.unpack(">QQ", raw[84:100])
    reg("container magic", 0, 32), reg("nodeid, write enabler", 32, 84), reg("container lengths", 84, 100)
    reg("leases", 100, 468)
    need(468 + dlen <= xoff and xoff + 4 <= len(raw), "container: lengths")
    nx, = struct.unpack(">L", raw[xoff:xoff + 4])
    need(xoff + 4 + 92 * nx == len(raw), "container: extra leases")
    reg("extra lease count", xoff, xoff + 4), reg("leases", xoff + 4, len(raw))
    s, base = raw[468:468 + dlen], 468
    reg("slack after the data", base + dlen, xoff)
    need(dlen >= 1, "slot: empty")
    if s[0] == 0:
        need(len(s) >= 107, "slot: short")
        ver, seq, root, iv, k, N, seg, size, sig, shc, bht, dat, prv, eof = struct.unpack(">BQ32s16sBBQQLLLLQQ", s[:107])
        signed, key0, key1 = s[:75], 107, sig
        need(107 <= sig <= shc <= bht <= dat <= prv <= eof <= len(s), "slot: offsets")
        sig_b, shc_b, bht_b, data_b = s[sig:shc], s[shc:bht], s[bht:dat], s[dat:prv]
        spans = [("signed fields", 0, 75), ("offsets", 75, 107), ("public key", 107, sig), ("signature", sig, shc),
                 ("share hash chain", shc, bht), ("block hash tree", bht, dat), ("data", dat, prv), ("encrypted private key", prv, eof)]
    elif s[0] == 1:
        need(len(s) >= 123, "slot: short")
        ver, seq, root, k, N, seg, size, prv, shc, sig, key0, key1, dat, bht, eof = struct.unpack(">BQ32sBBQQ8Q", s[:123])
        signed = s[:59]
        need(123 == prv <= shc <= sig <= key0 <= key1 <= dat <= bht <= eof <= len(s), "slot: offsets")
        need(dat == 123 + 1220 + 260 + 292 + 272, "slot: data offset")
        sig_b, shc_b, bht_b, data_b = s[sig:key0], s[shc:sig], s[bht:eof], s[dat:bht]
        spans = [("signed fields", 0, 59), ("offsets", 59, 123), ("encrypted private key", prv, shc), ("share hash chain", shc, sig),
                 ("signature", sig, key0), ("public key", key0, key1), ("gap before data", key1, dat), ("data", dat, bht), ("block hash tree", bht, eof)]
    else:
        raise Bad("slot: version")
    kind = ("SDMF ", "MDMF ")[ver]
    spans.append(("stale bytes after EOF", eof, len(s)))      # left by a longer earlier version
    for name, a, b in spans:
        reg(kind + name, base + a, base + b)
    try:
        key = rsa.create_verifying_key_from_string(s[key0:key1])
        need(rsa.der_string_from_verifying_key(key) == s[key0:key1], "public key: encoding")
        rsa.verify_signature(key, sig_b, signed)
    except BadSignature:
        raise Bad("signature")
    except Bad:
        raise
    except Exception:
        raise Bad("public key")
    need(1 <= k <= N, "slot: parameters")
    nseg = 0 if not size else 1 if ver == 0 else ceil_div(size, seg)
    if nseg:
        need(seg > 0 and seg % k == 0, "slot: segment size")
        tail = size - seg * (nseg - 1)
        block, tail_block, salt = seg // k, ceil_div(tail, k), 16 * ver
        need(len(data_b) == (block + salt) * (nseg - 1) + tail_block + salt, "slot: data size")
        step = block + salt
        leaves = [block_hash(data_b[i * step:(i + 1) * step]) for i in range(nseg)]
    else:
        need(not data_b, "slot: data size")
        leaves = []
    stored = split32(bht_b)         # of an empty file: the one node HashTree([]) has
    full_tree(stored, leaves, "block hash tree")
    chain = pairs34(shc_b, "share hash chain")
    climb(N, shnum, chain, stored[0], root, False, "share hash chain")
    return s[key0:key1]


def check(raw, shnum):
    seen = []
    def reg(name, a, b):
        if a < b:
            seen.append((name, a, b))
    try:
        if schema_from_header(raw[:32]) is not None:
            check_mutable(raw, shnum, reg)
        else:
            check_immutable(raw, shnum, reg)
        problems = []
    except Bad as e:
        problems = [str(e)]
    return problems, seen


def walk(top):
    for d, dirs, files in os.walk(top):
        dirs.sort()
        for f in sorted(files):
            if f.isdigit():
                yield os.path.join(d, f), int(f)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("shares")
    p.add_argument("--flips", type=int, default=0, help="bit flips per region and share")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    rng = random.Random(a.seed)
    good = bad = 0
    tally, missed_by = collections.OrderedDict(), {}
    for path, shnum in walk(a.shares):
        with open(path, "rb") as f:
            raw = f.read()
        problems, regions = check(raw, shnum)
        if problems:
            bad += 1
            print("BAD", path, problems)
            continue
        good += 1
        kind = "mutable: " if raw[:5] == b"Tahoe" else "immutable: "
        uniform = [("(anywhere in the file)", 0, len(raw))] if a.flips else []
        for name, lo, hi in regions + uniform:
            hits = tally.setdefault(kind + name, [0, 0])
            flips = min(a.flips, 8 * (hi - lo))
            if len(raw) > 200_000:
                flips = min(flips, 8)
            for _ in range(flips):
                at = rng.randrange(lo, hi)
                b = bytearray(raw)
                b[at] ^= 1 << rng.randrange(8)
                found = check(bytes(b), shnum)[0]
                hits[0] += 1
                hits[1] += bool(found)
    print(f"{good} shares good, {bad} bad")
    for name, (n, hit) in sorted(tally.items()):
        if n:
            print(f"{name:48s} {n:6d} flips {100 * hit / n:6.1f} % detected")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
