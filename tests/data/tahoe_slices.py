#!/usr/bin/env python3
"""Run slices of Tahoe-LAFS's own crawlers, from the state files in a folder, and leave them there.

    python tahoe_slices.py --store DIR --files DIR --buckets 40      # so many buckets (or prefixes, if there are fewer)
    python tahoe_slices.py --store DIR --files DIR --finish          # to the end of the cycle
    add --restart-after N to stop and load the state anew after every N slices

DIR/shares is what is walked; it is changed only where --expire is given without --dry-run. Clock, disk usage and order
of names are as in oracle.py. Prints {"counter": state, "leases": state, "history": history, "died": what was raised}.
A slice is as short as Tahoe's can be: one bucket of the lease checker, one prefix of either without any.
"""
import argparse, json, os, sys, time

import oracle
from allmydata.storage import expirer as expirer_mod
from allmydata.storage.crawler import BucketCountingCrawler


def load(path):
    if not os.path.exists(path):
        return None
    with open(path) as f:
        return json.load(f)


def slices(make, seen, most, restart_after):
    """Runs slices until so many things were seen, or the cycle ends; gives what Tahoe raised, if it did."""
    crawler, n = make(), 0
    crawler.cpu_slice, finished = 0, crawler.state["last-cycle-finished"]
    try:
        while seen() < most and crawler.state["last-cycle-finished"] == finished:
            crawler.start_slice()
            n += 1
            if restart_after and n % restart_after == 0:
                crawler = make()
                crawler.cpu_slice = 0
    except Exception as e:
        return type(e).__name__


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--store", required=True)
    p.add_argument("--files", required=True)
    p.add_argument("--job", default="both", choices=["both", "counter", "leases"])
    p.add_argument("--buckets", type=int, default=0)
    p.add_argument("--prefixes", type=int, default=0)
    p.add_argument("--finish", action="store_true")
    p.add_argument("--restart-after", type=int, default=0)
    p.add_argument("--expire", default="none")
    p.add_argument("--sharetypes", default="mutable,immutable")
    p.add_argument("--dry-run", action="store_true")
    p.add_argument("--now", type=int, default=oracle.NOW)
    a = p.parse_args()
    kind, _, value = a.expire.partition(":")
    server = oracle.Server(os.path.join(a.store, "shares"))
    path = lambda name: os.path.join(a.files, name)
    real_listdir = os.listdir
    time.time = lambda: a.now
    os.listdir = lambda p: sorted(real_listdir(p), key=os.fsencode)
    expirer_mod.twlog = oracle.Quiet
    seen = {"prefixes": 0, "buckets": 0}

    class Counter(BucketCountingCrawler):
        def finished_prefix(self, cycle, prefix):
            seen["prefixes"] += 1

    class Leases(oracle.make_lease_checker(False)):
        def process_bucket(self, *args):
            expirer_mod.LeaseCheckingCrawler.process_bucket(self, *args)
            seen["buckets"] += 1

    def leases():
        return Leases(server, path("lease_checker.state"), path("lease_checker.history"),
                      kind != "none" and not a.dry_run, "cutoff-date" if kind == "cutoff" else "age",
                      int(value) if kind == "age" and value else None, int(value) if kind == "cutoff" else None,
                      tuple(a.sharetypes.split(",")))

    most, died = (lambda n: float("inf") if a.finish else n), {}
    if a.job in ("both", "counter"):
        make = lambda: Counter(server, path("bucket_counter.state"))
        died["counter"] = slices(make, lambda: seen["prefixes"], most(a.prefixes), a.restart_after)
    if a.job in ("both", "leases"):
        died["leases"] = slices(leases, lambda: seen["buckets"], most(a.buckets), a.restart_after)
    json.dump({"counter": load(path("bucket_counter.state.json")), "leases": load(path("lease_checker.state.json")),
               "history": load(path("lease_checker.history.json")), "died": died}, sys.stdout)


if __name__ == "__main__":
    main()
