#!/usr/bin/env python3
"""How fast shares are verified, beside what openssl says of SHA-256 on the same machine in the same minute.

    cargo build --release
    python3 benches/verify.py                      # 1,000 shares of 1 MB, 5 rounds, 1 and 2 workers, segments of 128 KiB and 1 MiB

Makes whole immutable shares (3 of 10) with random data, and has them verified from the page cache. A
figure is bytes of shares per second of the whole process, its start and end included; 1.00 is the speed of `openssl speed`
on one core. By the clock that is what users get on an idle machine; by CPU time, as openssl counts, it is also right
on a busy one. Needs openssl and Python, no packages.
"""
import argparse, base64, hashlib, os, re, shutil, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
SEXTON = os.path.join(os.path.dirname(HERE), "target", "release", "sexton")
K, N = 3, 10


def netstring(b):
    return b"%d:%s," % (len(b), b)


def tagged(tag, data):
    return hashlib.sha256(hashlib.sha256(netstring(tag) + data).digest()).digest()


def tree(leaves):
    """All nodes, from the root down."""
    size = 1 << max(0, len(leaves) - 1).bit_length()
    row = leaves + [tagged(b"Merkle tree empty leaf", b"%d" % i) for i in range(len(leaves), size)]
    rows = [row]
    while len(row) > 1:
        pairs = zip(row[::2], row[1::2])
        row = [tagged(b"Merkle tree internal node", netstring(a) + netstring(b)) for a, b in pairs]
        rows.append(row)
    return [node for row in reversed(rows) for node in row]


def share(size, segment):
    """The share number 0 of a file whose shares have so many bytes of data."""
    block = segment // K
    segments = -(-size // block)
    tail = size - block * (segments - 1)
    data = os.urandom(size)
    blocks = tree([tagged(b"allmydata_encoded_subshare_v1", data[i * block:(i + 1) * block]) for i in range(segments)])
    crypttext = tree([os.urandom(32) for _ in range(segments)])
    shares = tree([blocks[0]] + [os.urandom(32) for _ in range(N - 1)])
    chain, node = [], len(shares) // 2
    chain.append(node)
    while node:
        chain.append(node + 1 if node % 2 else node - 1)
        node = (node - 1) // 2
    chain = b"".join(struct.pack(">H", i) + shares[i] for i in sorted(chain))
    params, tail_params = (b"%d-%d-%d" % (length, K, N) for length in (segment, tail * K))
    ueb = {
        "codec_name": b"crs", "codec_params": params, "tail_codec_params": tail_params, "crypttext_hash": os.urandom(32),
        "crypttext_root_hash": crypttext[0], "share_root_hash": shares[0], "needed_shares": b"%d" % K,
        "num_segments": b"%d" % segments, "segment_size": b"%d" % segment, "size": b"%d" % (size * K),
        "total_shares": b"%d" % N,
    }
    ueb = b"".join(key.encode() + b":" + netstring(value) for key, value in sorted(ueb.items()))
    at, offsets = 0x24, []
    parts = [data, bytes(32 * len(blocks)), b"".join(crypttext), b"".join(blocks), chain]
    for part in parts:
        offsets.append(at)
        at += len(part)
    offsets.append(at)
    head = struct.pack(">9L", 1, block, len(data), *offsets)
    data = head + b"".join(parts) + struct.pack(">L", len(ueb)) + ueb
    lease = struct.pack(">L32s32sL", 0, os.urandom(32), os.urandom(32), 1_700_000_000)
    return struct.pack(">3L", 2, len(data), 1) + data + lease


def make(store, shares, size, segment):
    total = 0
    for _ in range(shares):
        index = base64.b32encode(os.urandom(16)).decode().lower().rstrip("=")
        bucket = os.path.join(store, "shares", index[:2], index)
        os.makedirs(bucket)
        data = share(size, segment)
        total += len(data)
        with open(os.path.join(bucket, "0"), "wb") as f:
            f.write(data)
    return total


def openssl():
    """Bytes per second."""
    run = subprocess.run(["openssl", "speed", "-evp", "sha256", "-bytes", "1048576", "-seconds", "2"], check=True, capture_output=True)
    return 1000 * float(re.search(rb"(?i)^sha-?256 +([0-9.]+)k", run.stdout, re.M)[1])


def verify(store, work, workers):
    command = [SEXTON, "crawl", store, "--job", "verify", "--fresh", "--workers", str(workers)]
    command += ["--state", os.path.join(work, "state"), "--json"]
    before, start = os.times(), time.perf_counter()
    out = subprocess.run(command, check=True, capture_output=True).stdout
    took, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    assert b'"corrupt":0' in out and b'"unreadable":0' in out, out
    return took, cpu


def measure(segment, a):
    work = tempfile.mkdtemp(dir=a.dir)
    try:
        store = os.path.join(work, "store")
        total = make(store, a.shares, a.size, segment)
        verify(store, work, 1)
        ratios = {workers: [] for workers in a.workers}
        for _ in range(a.rounds):
            for workers in a.workers:
                speed = openssl()
                ratios[workers].append([total / secs / speed for secs in verify(store, work, workers)])
    finally:
        shutil.rmtree(work)
    print(f"{a.shares} shares, {total / 1e6:.0f} MB, segments of {segment} bytes; openssl's last figure {speed / 1e6:.0f} MB/s")
    for workers, found in ratios.items():
        for clock, figures in zip(("the clock", "CPU time"), zip(*found)):
            shown = " ".join(f"{r:.2f}" for r in figures)
            print(f"{workers} worker(s), by {clock}: median {statistics.median(figures):.2f} of openssl on one core ({shown})")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shares", type=int, default=1000)
    p.add_argument("--size", type=int, default=1_000_000, help="data of a share, in bytes")
    p.add_argument("--segment", type=int, nargs="*", default=[131073, 1048578],
                   help="of a file, in bytes; multiples of 3 [default: 131073, as older Tahoes make, and 1048578, as Tahoe makes today]")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    p.add_argument("--dir", help="where the store is made for the time")
    a = p.parse_args()
    for segment in a.segment:
        measure(segment, a)


if __name__ == "__main__":
    main()
