"""Three nodes on this machine, as one: `make cluster`.

    python examples/cluster/run.py                  # until Ctrl-C
    python examples/cluster/run.py --show           # show what it does, kill a node, show again, end

Makes certificates in configs/cluster/certs the first time, starts three flowserve processes from
configs/cluster/*.toml, and says how to use them.
"""

from __future__ import annotations

import argparse
import sys

from local_nodes import LocalNodes, local_nodes

NODES = {"alpha": 7310, "beta": 7320, "gamma": 7330}
LATER = {"delta": 7340}
"""Who can join while they run."""
USE = """
Three nodes, one swarm. Each serves the agents of all:

  connect an MCP client to any of   {urls}

In another terminal:

  flowctl --url http://127.0.0.1:7311 nodes               who is there
  flowctl --url http://127.0.0.1:7321 agents              what beta sees
  flowctl --url http://127.0.0.1:7331 call time.get_current_time timezone=Asia/Tokyo
                                                          asked of gamma, done by alpha
  flowctl --url http://127.0.0.1:7311 call flow.broadcast \\
      tool=count_words role=text arguments='{{"text":"a b"}}'
                                                          done by all three
  flowctl --url http://127.0.0.1:7311 memory put 'the ferry leaves at noon' --as ferry
  flowctl --url http://127.0.0.1:7331 memory search 'when does the boat leave'
                                                          kept by all three
  flowctl --url http://127.0.0.1:7311 state               who leads, and how far each of them is
  kill -9 {victim}                                        beta is gone: see `nodes` again
  flowserve --config configs/cluster/delta.toml           and delta takes its place:
  flowctl --url http://127.0.0.1:7311 members add delta
  flowctl --url http://127.0.0.1:7311 members promote delta --remove beta

Ctrl-C ends them.
"""


def show(nodes: LocalNodes) -> None:
    """What one can see of them, before and after one is killed."""
    nodes.say("alpha", "nodes")
    nodes.say("gamma", "call", "time.get_current_time", "timezone=Asia/Tokyo")
    nodes.say("beta", "call", "text.count_words", "text=three small words")
    nodes.say("alpha", "memory", "put", "the ferry leaves at noon", "--as", "ferry")
    nodes.say("alpha", "state")
    nodes.kill("beta")
    print(nodes.wait_for("alpha", "dead", "nodes"))
    nodes.say("alpha", "call", "text.count_words", "text=still served")
    nodes.say("gamma", "memory", "search", "when does the boat leave")
    print("\n$ flowserve --config configs/cluster/delta.toml")
    nodes.start("delta")
    nodes.wait_for("delta", "delta", "nodes")
    nodes.say("alpha", "members", "add", "delta")
    nodes.say("gamma", "members", "promote", "delta", "--remove", "beta")
    nodes.say("delta", "memory", "get", "ferry")


def main() -> int:
    """Start them, say how to use them, wait, end them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--show", action="store_true", help="show what it does, and end")
    wanted = options.parse_args()
    with local_nodes("cluster", NODES | LATER, show=wanted.show) as nodes:
        nodes.certify()
        nodes.start(*NODES)
        for name in NODES:
            for tool in ("git.git_status", "text.count_words", "time.get_current_time", "units."):
                nodes.wait_for(name, tool, "tools")
        print(USE.format(urls=nodes.urls(), victim=nodes.running["beta"].pid), flush=True)
        if wanted.show:
            show(nodes)
        else:
            nodes.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
