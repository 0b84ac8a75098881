#!/usr/bin/env python3
"""What deleting costs: `leases` with expiry beside the same crawl without deleting, plus the bare unlinking of the same
files, plus one synced commit for each slice.

    cargo build --release
    python3 benches/expiry.py                      # 30,000 buckets, 5 rounds
    python3 benches/expiry.py --old OTHER_SEXTON   # the two phases beside another version: 1 % and 50 % of 100,000 buckets

Each round has a store of its own, made anew, so that every run finds the same work. Rounds are run in turn; the medians of
their ratios count. Needs Python, no packages.
"""
import argparse, contextlib, json, os, pathlib, shutil, sqlite3, statistics, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SEXTON = os.path.join(ROOT, "target", "release", "sexton")
NOW = "1700000000"


def crawl(store, state, *more):
    command = [SEXTON, "crawl", store, "--job", "leases", "--state", state, "--fresh", "--json", "--now", NOW]
    start = time.perf_counter()
    done = subprocess.run(command + ["--expire", "age:2678400", *more], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    return time.perf_counter() - start, json.loads(done.stdout)


def shares(store):
    return {os.path.join(top, name) for top, _, names in os.walk(os.path.join(store, "shares")) for name in names}


def unlink(paths):
    start = time.perf_counter()
    for path in paths:
        os.unlink(path)
    return time.perf_counter() - start


def synced_commit(work, rows):
    """One commit of so many rows of the size of an intent, and the emptying of the log that makes it last."""
    path = os.path.join(work, "commit.sqlite")
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;"
                     "CREATE TABLE intent (id INTEGER PRIMARY KEY, body TEXT);")
    start = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO intent (body) VALUES (?)", (("x" * 600,) for _ in range(rows)))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    took = time.perf_counter() - start
    db.close()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.remove(path + suffix)
    return took


def make(store, buckets, percent):
    """Buckets with one share of one lease each, spread over all prefixes; so many percent of them have expired."""
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    for n in range(buckets):
        prefix = digits[n % 32] + digits[n // 32 % 32]
        name = prefix + "".join(digits[n >> shift & 31] for shift in range(25, -1, -5)) + "b" * 17 + "a"
        os.makedirs(os.path.join(store, "shares", prefix, name))
        days = 40 if n * 7919 % 100 < percent else 3
        lease = bytes(4) + bytes(64) + struct.pack(">L", int(NOW) + (31 - days) * 86_400)
        with open(os.path.join(store, "shares", prefix, name, "0"), "wb") as share:
            share.write(struct.pack(">LLL", 2, 200, 1) + bytes(200) + lease)


def timed(sexton, store, state, *more):
    """Seconds, exit code and the most memory in MB of one command."""
    command = [sexton, "crawl", store, "--job", "leases", "--state", state, "--json", "--now", NOW, "--expire", "age:2678400"]
    start = time.perf_counter()
    process = subprocess.Popen(command + [*more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Its own mark, read while it runs: what wait4 tells includes the memory of the process that started it.
    most = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            most = max(most, int(pathlib.Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0]))
        time.sleep(0.005)
    return time.perf_counter() - start, process.returncode, most / 1024


def phases(args):
    buckets = args.buckets or 100_000
    deletes = ["--offline", "--max-delete"]
    with tempfile.TemporaryDirectory(dir=args.dir) as work:
        os.chmod(work, 0o700)
        for percent in (1, 50):
            original, store = os.path.join(work, f"original-{percent}"), os.path.join(work, "store")
            make(original, buckets, percent)
            rows = []
            for round_number in range(args.rounds):
                state = lambda: os.path.join(tempfile.mkdtemp(dir=work), "state")

                def run(sexton, wanted, *more, kept=None):
                    took, code, memory = timed(sexton, store, kept or state(), *more)
                    assert code == wanted, (sexton, more, code)
                    return took, memory

                def anew():
                    shutil.rmtree(store, ignore_errors=True)
                    # Links: all that is done to the files is to unlink them.
                    subprocess.run(["cp", "-al", original, store], check=True)
                    os.sync()

                anew()
                run(SEXTON, 0, "--dry-run")
                old_dry = run(args.old, 0, "--dry-run")[0]
                new_dry = run(SEXTON, 0, "--dry-run")[0]
                kept = state()
                examine, examine_memory = run(SEXTON, 4, *deletes, "0%", kept=kept)
                carry = run(SEXTON, 0, *deletes, "100%", kept=kept)[0]
                anew()
                run(SEXTON, 0, "--dry-run")
                old = run(args.old, 0, *deletes, "100%")[0]
                anew()
                run(SEXTON, 0, "--dry-run")
                new, memory = run(SEXTON, 0, *deletes, "100%")
                rows.append((old_dry, new_dry, examine, carry, old, new, examine / old_dry, new / old))
                print(f"  {percent} %, round {round_number}: dry run {old_dry:.2f} s old, {new_dry:.2f} s new; examining alone "
                      f"{examine:.2f} s ({examine_memory:.0f} MB), then carrying out {carry:.2f} s; whole cycle {old:.2f} s old, "
                      f"{new:.2f} s new ({memory:.0f} MB)")
            medians = [statistics.median(column) for column in zip(*rows)]
            print(f"{percent} % of {buckets} buckets: examining alone / old dry run {medians[6]:.2f}   at most 1.00; "
                  f"whole cycle new / old {medians[7]:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, help="[default: 30,000; with --old 100,000]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--old", help="another version of the program, to be measured beside this one")
    parser.add_argument("--dir", help="where to work [default: a temporary folder]")
    args = parser.parse_args()
    if not os.path.exists(SEXTON):
        parser.error("build it first: cargo build --release")
    if args.old:
        return phases(args)
    args.buckets = args.buckets or 30_000
    ratios = []
    with tempfile.TemporaryDirectory(dir=args.dir) as work:
        original = os.path.join(work, "original")
        make = [sys.executable, os.path.join(ROOT, "tests", "data", "make_store.py"), "--out", original]
        # One lease a share, so that what expires is whole shares.
        subprocess.run(make + ["--buckets", str(args.buckets), "--seed", "1"], check=True)
        for round_number in range(args.rounds):
            store = os.path.join(work, "store")

            def copy():
                shutil.rmtree(store, ignore_errors=True)
                shutil.copytree(original, store)
                os.sync()  # otherwise the first commits to be measured wait until the copy is on the disk

            copy()
            before = shares(store)
            state = os.path.join(work, "state.sqlite")
            crawl(store, state, "--dry-run")                                     # warms the cache
            dry, _ = crawl(store, state, "--dry-run")
            full, report = crawl(store, state, "--offline", "--max-delete", "100%")
            gone = sorted(before - shares(store))
            copy()
            bare = unlink(gone)
            slices = report["budget"]["slices"]
            commits = slices * synced_commit(work, len(gone) // max(slices, 1))
            ratios.append(full / (dry + bare + commits))
            print(f"  round {round_number}: {full:.3f} s for {len(gone)} shares in {slices} slices; crawl {dry:.3f} s, "
                  f"unlinking {bare:.3f} s, synced commits {commits:.3f} s; ratio {ratios[-1]:.2f}")
    print(f"leases with expiry / (crawl + unlinks + synced commits): {statistics.median(ratios):.2f}   at most 1.20")


if __name__ == "__main__":
    main()
