"""An etcd and three nodes on it, on this machine: `make cluster-etcd`.

    python examples/cluster/etcd.py                  # until Ctrl-C
    python examples/cluster/etcd.py --show           # show what it does, kill etcd and a node, show again

The etcd is Debian's `etcd-server`; its data is in data/cluster-etcd, as that of the nodes, which are of
configs/cluster-etcd/*.toml.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys

from local_nodes import ROOT, LocalNodes, local_nodes

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


def start_etcd(nodes: LocalNodes) -> None:
    """One member; three on three machines are what an etcd should be."""
    data = (nodes.folder or DATA) / "etcd"
    data.mkdir(parents=True, exist_ok=True)
    nodes.running["etcd"] = subprocess.Popen(
        [
            *("etcd", "--name", "example", "--data-dir", str(data)),
            *("--listen-client-urls", CLIENT, "--advertise-client-urls", CLIENT),
            *("--listen-peer-urls", PEER, "--initial-advertise-peer-urls", PEER),
            *("--initial-cluster", f"example={PEER}", "--logger", "zap"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def show(nodes: LocalNodes) -> None:
    """What one can see of them, before and after etcd and a node are killed."""
    search = ("memory", "search", "when does the boat leave")
    print("\n$ alpha: flowctl memory put 'the ferry leaves at noon'")
    nodes.wait_for("alpha", "ferry", "memory", "put", "the ferry leaves at noon", "--as", "ferry")
    print(nodes.wait_for("gamma", "the ferry leaves at noon", *search), end="")
    nodes.kill("etcd")
    refused = nodes.ctl("beta", "memory", "put", "lost")
    print(refused.stderr, end="")
    print(nodes.wait_for("gamma", "the ferry leaves at noon", *search), end="")
    if refused.returncode == 0:
        raise SystemExit("without etcd nothing is kept, and it was said to be")
    print("\n$ etcd, again")
    start_etcd(nodes)
    nodes.wait_for("beta", "train", "memory", "put", "the train leaves at one", "--as", "train")
    nodes.kill("beta")
    for words, what in ((search, "ferry"), (("memory", "search", "by rail"), "train")):
        print(nodes.wait_for("gamma", what, *words), end="")


def main() -> int:
    """Start them, say how to use them, wait, end them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--show", action="store_true", help="show what it does, and end")
    wanted = options.parse_args()
    if shutil.which("etcd") is None:
        raise SystemExit(
            "etcd is missing: install Debian's etcd-server, or run `make etcd` as root"
        )
    with local_nodes("cluster-etcd", NODES, show=wanted.show) as nodes:
        start_etcd(nodes)
        nodes.start(*NODES)
        for name in NODES:
            nodes.wait_for(name, "text.count_words", "tools")
        print(
            USE.format(urls=nodes.urls(), client=CLIENT, etcd=nodes.running["etcd"].pid), flush=True
        )
        if wanted.show:
            show(nodes)
        else:
            nodes.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
