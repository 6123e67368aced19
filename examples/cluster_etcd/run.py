"""An etcd and three nodes on it, on this machine: `make cluster-etcd`.

    python examples/cluster_etcd/run.py                  # until Ctrl-C
    python examples/cluster_etcd/run.py --show           # show what it does, kill etcd and a node, show again

The etcd is Debian's `etcd-server`; its data is in data/cluster-etcd, as that of the nodes, which are of
configs/cluster-etcd/*.toml.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from types import FrameType

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
DATA = ROOT / "data" / "cluster-etcd"
NODES = {"alpha": 7410, "beta": 7420, "gamma": 7430}
CLIENT, PEER = "http://127.0.0.1:7408", "http://127.0.0.1:7409"
USE = """
Three nodes, one memory, which is in etcd at {client}.

  connect an MCP client to any of   {urls}

In another terminal:

  flowctl --url http://127.0.0.1:7411 memory put 'the ferry leaves at noon' --as ferry
  flowctl --url http://127.0.0.1:7431 memory search 'when does the boat leave'
  ETCDCTL_API=3 etcdctl --endpoints {client} get --prefix example/ --keys-only
  kill -9 {etcd}                                          etcd is gone: nothing is kept, memory still answers

Ctrl-C ends them.
"""


def ctl(node: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run flowctl against a node."""
    url = f"http://127.0.0.1:{NODES[node] + 1}"
    return subprocess.run(
        [str(BIN / "flowctl"), "--url", url, *words], capture_output=True, text=True, check=False
    )


def wait_for(node: str, what: str, *words: str) -> str:
    """Ask again and again until the answer has a text; what it says then."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done = ctl(node, *words)
        if what in done.stdout:
            return done.stdout
        time.sleep(0.2)
    raise SystemExit(f"{node} does not say {what!r}:\n{done.stdout}{done.stderr}")


def start_etcd() -> subprocess.Popen[bytes]:
    """One member; three on three machines are what an etcd should be."""
    return subprocess.Popen(
        [
            *("etcd", "--name", "example", "--data-dir", str(DATA / "etcd")),
            *("--listen-client-urls", CLIENT, "--advertise-client-urls", CLIENT),
            *("--listen-peer-urls", PEER, "--initial-advertise-peer-urls", PEER),
            *("--initial-cluster", f"example={PEER}", "--logger", "zap"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def show(etcd: subprocess.Popen[bytes], nodes: dict[str, subprocess.Popen[bytes]]) -> None:
    """What one can see of them, before and after etcd and a node are killed."""
    search = ("memory", "search", "when does the boat leave")
    print("\n$ alpha: flowctl memory put 'the ferry leaves at noon'")
    wait_for("alpha", "ferry", "memory", "put", "the ferry leaves at noon", "--as", "ferry")
    print(wait_for("gamma", "the ferry leaves at noon", *search), end="")
    print("\n$ kill -9 etcd")
    etcd.kill()
    etcd.wait()
    refused = ctl("beta", "memory", "put", "lost")
    print(refused.stderr, end="")
    print(wait_for("gamma", "the ferry leaves at noon", *search), end="")
    if refused.returncode == 0:
        raise SystemExit("without etcd nothing is kept, and it was said to be")
    print("\n$ etcd, again")
    processes = [start_etcd()]
    try:
        wait_for("beta", "train", "memory", "put", "the train leaves at one", "--as", "train")
        print("\n$ kill -9 beta")
        nodes["beta"].kill()
        nodes["beta"].wait()
        for words, what in ((search, "ferry"), (("memory", "search", "by rail"), "train")):
            print(wait_for("gamma", what, *words), end="")
    finally:
        for one in processes:
            one.terminate()
            one.wait(timeout=60)


def main() -> int:
    """Start them, say how to use them, wait, end them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--show", action="store_true", help="show what it does, and end")
    wanted = options.parse_args()
    if shutil.which("etcd") is None:
        raise SystemExit(
            "etcd is missing: install Debian's etcd-server, or run `make etcd` as root"
        )
    DATA.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _end)
    out = subprocess.DEVNULL if wanted.show else None
    processes = [start_etcd()]
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in NODES:
            config = str(ROOT / "configs" / "cluster-etcd" / f"{name}.toml")
            nodes[name] = subprocess.Popen(
                [str(BIN / "flowserve"), "--config", config], stdout=subprocess.DEVNULL, stderr=out
            )
        for name in NODES:
            wait_for(name, "text.count_words", "tools")
        urls = "   ".join(f"http://127.0.0.1:{port}/mcp" for port in NODES.values())
        print(USE.format(urls=urls, client=CLIENT, etcd=processes[0].pid), flush=True)
        if wanted.show:
            show(processes[0], nodes)
        else:
            for process in nodes.values():
                process.wait()
    except KeyboardInterrupt:
        print("ending them", flush=True)
    finally:
        for process in (*nodes.values(), *processes):
            if process.poll() is None:
                process.terminate()
        for process in (*nodes.values(), *processes):
            process.wait(timeout=60)
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
