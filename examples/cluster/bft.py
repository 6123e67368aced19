"""Four nodes on this machine, of which one may lie: `make cluster-bft`.

    python examples/cluster/bft.py                  # until Ctrl-C
    python examples/cluster/bft.py --show           # show what it does, kill a node, show again, end

Makes certificates in configs/bft/certs the first time, starts four flowserve processes from
configs/bft/*.toml, and says how to use them.
"""

from __future__ import annotations

import argparse
import sys

from local_nodes import LocalNodes, local_nodes

NODES = {"alpha": 7510, "beta": 7520, "gamma": 7530, "delta": 7540}
USE = """
Four nodes, one memory, and one of them may lie.

  connect an MCP client to any of   {urls}

In another terminal:

  flowctl --url http://127.0.0.1:7511 memory put 'the ferry leaves at noon' --as ferry
  flowctl --url http://127.0.0.1:7541 memory search 'when does the boat leave'
  flowctl --url http://127.0.0.1:7521 state               height, view, leader, epoch, evidence
  kill -9 {victim}                                        alpha, which leads, is gone: the next one leads
  flowctl --url http://127.0.0.1:7521 memory put 'the train leaves at one' --as train

Ctrl-C ends them.
"""


def show(nodes: LocalNodes) -> None:
    """What one can see of them, before and after the leader is killed."""
    ferry, train = "the ferry leaves at noon", "the train leaves at one"
    nodes.wait_for("alpha", "ferry", "memory", "put", ferry, "--as", "ferry")
    nodes.say("alpha", "state")
    nodes.say("delta", "memory", "search", "when does the boat leave")
    nodes.kill("alpha")
    print(nodes.wait_for("beta", "train", "memory", "put", train, "--as", "train"))
    nodes.say("gamma", "memory", "get", "train")
    nodes.say("beta", "state")


def main() -> int:
    """Start them, say how to use them, wait, end them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--show", action="store_true", help="show what it does, and end")
    wanted = options.parse_args()
    with local_nodes("bft", NODES, show=wanted.show) as nodes:
        nodes.certify()
        nodes.start(*NODES)
        for name in NODES:
            nodes.wait_for(name, "text.count_words", "tools")
        print(USE.format(urls=nodes.urls(), victim=nodes.running["alpha"].pid), flush=True)
        if wanted.show:
            show(nodes)
        else:
            nodes.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
