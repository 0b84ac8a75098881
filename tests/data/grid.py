#!/usr/bin/env python3
"""A Tahoe-LAFS grid on the loopback interface, half of which is expired by Sexton.

    PYTHON-WITH-TAHOE grid.py SEXTON

Starts an introducer, a storage node and a client; uploads some files, waits, uploads as many again; stops the storage node,
has Sexton delete what was uploaded before the pause, and starts the node again. Then the client must still read the files of
the second half, and none of the first. Prints one JSON object.
"""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

TAHOE = [sys.executable, "-c", "from allmydata.scripts.runner import run; run()"]
FILES = 4


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Grid:
    def __init__(self, home):
        self.home, self.running = home, {}
        ports = {name: free_port() for name in ("intro", "node", "web")}
        listen = lambda name: ["--listen=tcp", f"--port=tcp:{ports[name]}:interface=127.0.0.1",
                               f"--location=tcp:127.0.0.1:{ports[name]}"]
        shares = ["--shares-needed=2", "--shares-happy=1", "--shares-total=4"]
        self.tahoe("create-introducer", *listen("intro"), self.dir("intro"))
        self.start("intro")
        furl = os.path.join(self.dir("intro"), "private", "introducer.furl")
        wait(lambda: os.path.exists(furl))
        introducer = "--introducer=" + open(furl).read().strip()
        self.tahoe("create-node", introducer, "--nickname=store", "--webport=none", *listen("node"), *shares,
                   self.dir("node"))
        self.tahoe("create-client", introducer, "--nickname=client",
                   f"--webport=tcp:{ports['web']}:interface=127.0.0.1", *shares, self.dir("client"))
        self.web = f"http://127.0.0.1:{ports['web']}"
        self.start("node")
        self.start("client")

    def dir(self, name):
        return os.path.join(self.home, name)

    def tahoe(self, *args):
        subprocess.run(TAHOE + list(args), check=True, stdout=subprocess.DEVNULL)

    def start(self, name):
        log = open(self.dir(name) + ".log", "ab")
        command = TAHOE + ["run", "--allow-stdin-close", self.dir(name)]
        self.running[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, name):
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(60)

    def stop_all(self):
        for name in list(self.running):
            self.stop(name)

    def request(self, method, path, body=None):
        request = urllib.request.Request(self.web + path, data=body, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def is_connected(self):
        try:
            servers = json.loads(self.request("GET", "/?t=json"))["servers"]
        except (OSError, ValueError):
            return False
        return any(server["connection_status"].lower().startswith("connected") for server in servers)

    def put(self, number, path):
        content = bytes([number]) * (1000 + 50000 * number)
        cap = self.request("PUT", path, content).decode()
        return cap, content

    def reads(self, cap, content):
        try:
            return self.request("GET", "/uri/" + cap) == content
        except urllib.error.HTTPError:
            return False


def wait(what, limit=120):
    end = time.time() + limit
    while not what():
        if time.time() > end:
            raise SystemExit("the grid does not come up")
        time.sleep(0.2)


def upload_half(grid, first):
    files = [grid.put(first + i, "/uri") for i in range(FILES)]
    files.append(grid.put(first + FILES, "/uri?format=SDMF"))
    files.append(grid.put(first + FILES + 1, "/uri?format=MDMF"))
    return files


def main():
    home = tempfile.mkdtemp(prefix="grid-")
    grid = None
    try:
        grid = Grid(home)
        wait(grid.is_connected)
        old = upload_half(grid, 0)
        time.sleep(2.5)
        cutoff = int(time.time())
        time.sleep(1.5)
        new = upload_half(grid, 20)
        assert all(grid.reads(*file) for file in old + new)
        grid.stop("node")
        storage = os.path.join(grid.dir("node"), "storage")
        # The node has saved its state as it stopped: only who has stopped it knows that it has.
        sexton = subprocess.run(
            [sys.argv[1], "crawl", storage, "--job", "leases", "--json", "--state", os.path.join(home, "state.sqlite"),
             "--expire", f"cutoff:{cutoff}", "--offline", "--node-stopped", "--max-delete", "60%"], check=True, stdout=subprocess.PIPE)
        grid.start("node")
        # The client reconnects by itself, after a while.
        grid.stop("client")
        grid.start("client")
        wait(grid.is_connected)
        report = json.loads(sexton.stdout)
        print(json.dumps({"files": len(old), "old_read": sum(grid.reads(*file) for file in old),
                          "new_read": sum(grid.reads(*file) for file in new), "deleted": report["deleted"],
                          "examined": report["shares"], "findings": report["findings"]}))
    finally:
        if grid:
            grid.stop_all()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
