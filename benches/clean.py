#!/usr/bin/env python3
"""Time sexton clean on large local databases, in one run: dry run, at once, in slices; lock times, peak memory.

    cargo build --release
    python3 benches/clean.py                       # 1,000,000 blocks of era A, five runs of each
    python3 benches/clean.py --large               # also 10,000,000 blocks (2.6 GB, twice), one run
    python3 benches/clean.py --segments-200k       # also peak memory with 200,000 segments, with --json and for people

The databases are those of make_localdb.py with --objects-per-segment 250 --snapshots 7 --seed 3, the same as those the old
program was timed on: its figures stand beside, of another machine, so only ratios of them mean something. Each run cleans a
fresh copy, which is in the page cache, at --lock-duty 100%. The commands run in turn, round after round, so that what
disturbs the machine disturbs all of them. Needs Python with sqlite3, no packages.
"""
import argparse, json, os, re, shutil, sqlite3, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SEXTON = os.path.join(ROOT, "target", "release", "sexton")
GENERATOR = os.path.join(ROOT, "tests", "data", "cumulus", "make_localdb.py")
NOW = "2454407.5"
CACHE_MB = 32                                                               # local_db.rs

# The old program, unchanged, on a two-core virtual machine, everything in the page cache: seconds by number of blocks. It
# holds the lock all the time, and has no dry run.
OLD_SECS = {1_000_000: 14.8, 10_000_000: 254.0}
OLD_PEAK_MB = {1_000_000: 21, 10_000_000: 77}

WAYS = {                                                                    # name: (arguments, write-ahead log)
    "dry run": (["--dry-run"], False),
    "at once": (["--at-once"], False),
    "slices, WAL": ([], True),
    "slices, rollback journal": ([], False),
}


def make(path, segments, objects):
    command = [sys.executable, GENERATOR, "--out", path, "--segments", str(segments), "--objects-per-segment", str(objects)]
    subprocess.run(command + ["--snapshots", "7", "--seed", "3", "--era", "A"], check=True, stdout=subprocess.DEVNULL)


def fresh(path, wal):
    """A copy to clean, without anything of an earlier run beside it."""
    copy = path + ".copy"
    for name in os.listdir(os.path.dirname(copy)):
        if name.startswith(os.path.basename(copy)):
            os.remove(os.path.join(os.path.dirname(copy), name))
    shutil.copyfile(path, copy)
    if wal:
        conn = sqlite3.connect(copy)
        assert conn.execute("pragma journal_mode = wal").fetchone() == ("wal",)
        conn.close()
    os.sync()                                                               # its writing is not to be paid for by the run
    return copy


def steps_of(out):
    """The lock times in a report. Read from its end, as a child's peak memory is never less than its parent's at the fork:
    this program must stay smaller than what it measures."""
    out.seek(max(0, out.seek(0, os.SEEK_END) - 4096))
    return json.loads(re.search(rb'"steps":\s*(\{[^{}]*\})', out.read())[1])


def clean(path, way, people=False):
    """Cleans a copy; gives seconds, CPU seconds, peak megabytes, and the report's lock times, which people's text has not."""
    more, wal = WAYS[way]
    copy = fresh(path, wal)
    command = [SEXTON, "clean", copy, "--now", NOW, "--lock-duty", "100%", *more] + ([] if people else ["--json"])
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        took = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, (command, child.returncode)
        steps = None if people else steps_of(out)
    return took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, steps


def rounds_of(path, rounds, ways):
    taken = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            taken[way].append(clean(path, way))
    return taken


def show(blocks, rounds, taken):
    print(f"{blocks} blocks, {rounds} rounds, load {os.getloadavg()[0]:.1f}; the old program: {OLD_SECS[blocks]} s")
    print("                              seconds (least to most)    CPU   old/new   locks: count   p50    p99  longest, ms   peak MB")
    for way, runs in taken.items():
        secs, cpu, peak, steps = zip(*runs)
        middle = statistics.median(secs)
        lock = {key: statistics.median(s[key] or 0 for s in steps) for key in ("count", "p50_ms", "p99_ms", "longest_ms")}
        print(f"  {way:26} {middle:7.2f}  ({min(secs):6.2f} to {max(secs):6.2f})  {statistics.median(cpu):6.2f}  {OLD_SECS[blocks] / middle:7.1f}"
              f"       {lock['count']:7.0f} {lock['p50_ms']:7.1f} {lock['p99_ms']:6.1f} {lock['longest_ms']:8.1f}    {max(peak):8.1f}")


def median(taken, way):
    return statistics.median(run[0] for run in taken[way])


def most_memory(blocks, segments):
    return CACHE_MB + 16 + (64 * segments + blocks / 8) / 1e6


def memory_of_many(path, blocks, segments):
    make(path, segments, blocks // segments)
    most = most_memory(blocks, segments)
    print(f"peak memory, {segments:,} segments: at most {most:.1f} MB     --json   for people")
    for way in WAYS:
        print(f"  {way:26} {clean(path, way)[2]:27.1f} MB {clean(path, way, people=True)[2]:6.1f} MB")
    os.remove(path)


def aims(taken, blocks, segments):
    aim = most_memory(blocks, segments)
    peak = max(run[2] for runs in taken.values() for run in runs)
    steps = [run[3] for run in taken["slices, WAL"]]
    print("result, and the aim")
    for way, most in (("dry run", 1.2), ("at once", 5.0), ("slices, WAL", 7.0)):
        print(f"  {way:26} {median(taken, way):7.2f} s   at most {most} s")
    print(f"  99 of 100 locks (WAL)      {statistics.median(s['p99_ms'] for s in steps):7.1f} ms  at most 50 ms (median of the runs)")
    print(f"  longest lock (WAL)         {statistics.median(s['longest_ms'] for s in steps):7.1f} ms  at most 100 ms (median of the runs)")
    print(f"  peak memory                {peak:7.1f} MB  at most {aim:.1f} MB (cache, 16 MB, 64 B a segment, a bit a block); "
          f"the old program: {OLD_PEAK_MB[blocks]} MB with a cache of 2 MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="also 10,000,000 blocks, one round")
    parser.add_argument("--segments-200k", action="store_true", help="also peak memory with 200,000 segments")
    parser.add_argument("--dir", help="where to work [default: a temporary folder]")
    args = parser.parse_args()
    if not os.path.exists(SEXTON):
        parser.error("build it first: cargo build --release")
    with tempfile.TemporaryDirectory(dir=args.dir) as work:
        path = os.path.join(work, "localdb.sqlite")
        make(path, 4000, 250)
        for way in WAYS:
            clean(path, way)                                                # warms the cache
        taken = rounds_of(path, args.rounds, WAYS)
        show(1_000_000, args.rounds, taken)
        aims(taken, 1_000_000, 4000)
        if args.segments_200k:
            memory_of_many(os.path.join(work, "many.sqlite"), 1_000_000, 200_000)
        if args.large:
            os.remove(path)
            make(path, 40_000, 250)
            ways = [way for way in WAYS if way != "slices, rollback journal"]
            large = rounds_of(path, 1, ways)
            show(10_000_000, 1, large)
            print("result, and the aim")
            for way in ways:
                print(f"  {way:26} {median(large, way) / median(taken, way):7.1f} times as long   at most 14")


if __name__ == "__main__":
    main()
