#!/usr/bin/env python3
"""What deleting costs: `leases` with expiry beside the same crawl without deleting, plus the bare unlinking of the same
files, plus one synced commit for each slice.

    cargo build --release
    python3 benches/expiry.py                      # 30,000 buckets, 5 rounds

Each round has a store of its own, made anew, so that every run finds the same work. Rounds are run in turn; the medians of
their ratios count. Needs Python, no packages.
"""
import argparse, json, os, shutil, sqlite3, statistics, subprocess, sys, tempfile, time

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", help="where to work [default: a temporary folder]")
    args = parser.parse_args()
    if not os.path.exists(SEXTON):
        parser.error("build it first: cargo build --release")
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
