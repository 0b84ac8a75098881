#!/usr/bin/env python3
"""Compare whole processes in one run: sexton beside the floor, the least that a program must do for the same walk.

    cargo build --release
    python3 benches/compare.py                     # 100,000 buckets, 7 rounds
    python3 benches/compare.py --million           # also peak memory at 1,000,000 buckets (8 GB of tmpfs)
    python3 benches/compare.py --one-prefix        # also peak memory of a prefix of 1,000,000 names

floor.c opens, lists, stats and reads what a lease check has to, and computes nothing. All commands run in turn, round
after round, so that what disturbs the machine disturbs all of them; medians are compared. Needs cc and Python, no packages.
"""
import argparse, os, resource, shutil, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SEXTON = os.path.join(ROOT, "target", "release", "sexton")
# The moment that make_store.py makes leases for; at it a store is as one in use: most leases are valid, some are not.
NOW = "1700000000"


def make(out, buckets, *more):
    command = [sys.executable, os.path.join(ROOT, "tests", "data", "make_store.py"), "--out", out, "--buckets", str(buckets)]
    subprocess.run(command + ["--seed", "1", *more], check=True)


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def peak_kb(command):
    """Peak memory of one process, by wait4."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, command
    return usage.ru_maxrss


def crawl(store, work, job, name, *more):
    state = os.path.join(work, name + ".sqlite")
    return [SEXTON, "crawl", store, "--job", job, "--state", state, "--now", NOW, "--fresh", "--json", *more]


def compare(work, buckets, rounds):
    store, floor = os.path.join(work, "store"), os.path.join(work, "floor")
    subprocess.run(["cc", "-O2", "-pthread", "-o", floor, os.path.join(HERE, "floor.c")], check=True)
    make(store, buckets)
    shares = os.path.join(store, "shares")
    commands = {
        "floor lease, 1 thread": [floor, "lease", shares, "1"],
        "leases, 1 worker": crawl(store, work, "leases", "one"),
        "leases, 1 worker, one checkpoint": crawl(store, work, "leases", "never", "--checkpoint", "1h"),
        "leases, 1 worker, every_bucket": crawl(store, work, "leases", "bucket", "--checkpoint", "every_bucket"),
        "floor lease, 2 threads": [floor, "lease", shares, "2"],
        "leases, 2 workers": crawl(store, work, "leases", "two", "--workers", "2"),
        "floor count": [floor, "count", shares, "1"],
        "count": crawl(store, work, "count", "count"),
    }
    for command in commands.values():
        timed(command)                                                      # warms the cache
    taken = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            taken[name].append(timed(command))
    median = {name: statistics.median(t) for name, t in taken.items()}
    print(f"{buckets} buckets, {rounds} rounds; seconds: median (least to most)")
    for name, t in taken.items():
        print(f"  {name:34} {median[name]:7.3f}  ({min(t):.3f} to {max(t):.3f})")

    def ratio(a, b):
        """The median of the ratios within each round, which is steadier than the ratio of medians."""
        return statistics.median(x / y for x, y in zip(taken[a], taken[b]))

    extra = (median["leases, 1 worker, every_bucket"] - median["leases, 1 worker"]) / buckets
    limit = 1.2 * median["floor count"] + 0.050
    print("result (median of the rounds' ratios), and the aim")
    print(f"  leases, 1 worker / floor         {ratio('leases, 1 worker', 'floor lease, 1 thread'):6.2f}   at most 1.25")
    print(f"  leases, 2 workers / floor        {ratio('leases, 2 workers', 'floor lease, 2 threads'):6.2f}   at most 1.35")
    print(f"  count                            {median['count']:6.3f} s at most {limit:.3f} s (1.2 x floor + 50 ms)")
    print(f"  every_slice / one checkpoint     {ratio('leases, 1 worker', 'leases, 1 worker, one checkpoint'):6.2f}   under 1.03")
    print(f"  every_bucket, more per bucket    {1e6 * extra:6.1f} us under 40 us")


def memory(work, label, buckets, most_mb, *more):
    store = os.path.join(work, "large")
    make(store, buckets, *more)
    empty = os.path.join(work, "empty")
    os.makedirs(os.path.join(empty, "shares"), exist_ok=True)
    for job in ("leases", "count"):
        idle = peak_kb(crawl(empty, work, job, "idle")) / 1024
        peak = peak_kb(crawl(store, work, job, "large-" + job)) / 1024
        print(f"  {label}, {job:6}  peak {peak:5.1f} MB, idle {idle:4.1f} MB, {peak - idle:5.1f} MB above; {most_mb}")
    shutil.rmtree(store)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--million", action="store_true", help="peak memory at 1,000,000 buckets")
    parser.add_argument("--one-prefix", action="store_true", help="peak memory of one prefix with 1,000,000 names")
    parser.add_argument("--dir", help="where to work [default: a temporary folder]")
    parser.add_argument("--tmpfs", default="/dev/shm", help="where the large stores go, as they stay warm there")
    args = parser.parse_args()
    if not os.path.exists(SEXTON):
        parser.error("build it first: cargo build --release")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if args.rounds:
        with tempfile.TemporaryDirectory(dir=args.dir) as work:
            compare(work, args.buckets, args.rounds)
    with tempfile.TemporaryDirectory(dir=args.tmpfs) as work:
        if args.million:
            memory(work, "1,000,000 buckets", 1_000_000, "aim: peak under 40 MB")
        if args.one_prefix:
            memory(work, "one prefix of 1,000,000", 1_000_000, "aim: at most 64 MB above idle", "--one-prefix", "mm")


if __name__ == "__main__":
    main()
