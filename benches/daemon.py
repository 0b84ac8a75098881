#!/usr/bin/env python3
"""What a daemon costs when nothing is to be done: for some minutes, with a reader of events as the page is one, and the
metrics scraped each second.

    cargo build --release && benches/daemon.py [--minutes 10] [--sexton target/release/sexton] [--browser chromium]

Fails if the process uses more than 1 % of a core, or its memory grows by more than 2 MB after the first third.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

CONFIG = """(
    state: "state.sqlite",
    budget: (cpu_percentage: "10%", cpu_slice: "50ms"),
    http: (listen: "127.0.0.1:0"),
    crawls: [
        (name: "leases", store: "store", job: leases(), slow_start: "0s", minimum_cycle_time: "12h"),
        (name: "count", store: "store", job: count, slow_start: "0s", minimum_cycle_time: "12h"),
    ],
)"""


def cpu_secs(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def read_events(url, counts):
    with urllib.request.urlopen(f"{url}/api/events", timeout=60) as stream:
        for line in stream:
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
                counts[name] = counts.get(name, 0) + 1


def wait_until_idle(url):
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        status = json.load(urllib.request.urlopen(f"{url}/api/status"))
        if all(crawl["state"] == "sleeping" for crawl in status["crawls"]):
            return
        time.sleep(0.2)
    sys.exit("the first cycles do not end")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--sexton", default="target/release/sexton")
    parser.add_argument("--browser", help="also has the page itself open, in this Chromium")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = os.path.join(folder, "store")
        run = [args.sexton, "demo", "--dir", store, "--buckets", "5000"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(os.path.join(folder, "config.ron"), "w") as config:
            config.write(CONFIG)
        env = {**os.environ, "XDG_RUNTIME_DIR": os.path.join(folder, "runtime")}
        command = [args.sexton, "run", "--config", os.path.join(folder, "config.ron")]
        daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
        try:
            link = next(line for line in daemon.stderr if "the page, once: " in line).split()[-1]
            browser = open_page(args.browser, link, folder) if args.browser else None
            threading.Thread(target=lambda: [None for _ in daemon.stderr], daemon=True).start()
            url, counts = link.split("/login")[0], {}
            wait_until_idle(url)
            threading.Thread(target=read_events, args=(url, counts), daemon=True).start()
            measure(daemon.pid, url, args.minutes * 60, counts)
            if browser:
                assert browser.poll() is None, "the browser has gone"
                browser.kill()
                browser.wait()
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(30)


def open_page(browser, link, folder):
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={folder}/profile", link]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(pid, url, secs, counts):
    began, cpu, memory = time.monotonic(), cpu_secs(pid), []
    while (passed := time.monotonic() - began) < secs:
        urllib.request.urlopen(f"{url}/metrics").read()
        memory.append((passed, resident_mb(pid)))
        time.sleep(1.0)
    percent = 100 * (cpu_secs(pid) - cpu) / (time.monotonic() - began)
    settled = [mb for passed, mb in memory if passed > secs / 3]
    growth = settled[-1] - settled[0]
    print(f"{secs:.0f} s, {len(memory)} scrapes, events {counts}")
    print(f"{percent:.3f} % of a core; memory {settled[0]:.1f} MB, grown by {growth:.2f} MB, most {max(settled):.1f} MB")
    if percent >= 1.0 or growth > 2.0:
        sys.exit("more than it may")


if __name__ == "__main__":
    main()
