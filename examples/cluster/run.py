"""Three nodes on this machine, as one: `make cluster`.

    python examples/cluster/run.py                  # until Ctrl-C
    python examples/cluster/run.py --show           # show what it does, kill a node, show again, end

Makes certificates in configs/cluster/certs the first time, starts three flowserve processes from
configs/cluster/*.toml, and says how to use them.
"""

from __future__ import annotations

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from types import FrameType

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
CONFIGS = ROOT / "configs" / "cluster"
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


def ctl(node: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run flowctl against a node."""
    url = f"http://127.0.0.1:{(NODES | LATER)[node] + 1}"
    return subprocess.run(
        [str(BIN / "flowctl"), "--url", url, *words], capture_output=True, text=True, check=False
    )


def say(*words: str) -> None:
    """Run flowctl against a node, and show it."""
    print(
        f"\n$ flowctl --url http://127.0.0.1:{(NODES | LATER)[words[0]] + 1} {' '.join(words[1:])}"
    )
    done = ctl(*words)
    print(done.stdout, end="")
    if done.returncode:
        raise SystemExit(done.stderr)


def start(name: str, folder: str | None) -> subprocess.Popen[bytes]:
    """Start a node; with a folder, quietly, and its data are kept there."""
    words = [str(BIN / "flowserve"), "--config", str(CONFIGS / f"{name}.toml")]
    if folder is not None:
        words += ["--set", f"node.data_dir={folder}/{name}"]
    errors = None if folder is None else subprocess.DEVNULL
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=errors)


def wait_for(node: str, what: str, *words: str) -> str:
    """Ask again and again until the answer has a text; what it says then."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        done = ctl(node, *words)
        if what in done.stdout:
            return done.stdout
        time.sleep(0.2)
    raise SystemExit(f"{node} does not say {what!r}:\n{done.stdout}{done.stderr}")


def show(nodes: dict[str, subprocess.Popen[bytes]], folder: str) -> None:
    """What one can see of them, before and after one is killed."""
    for words in (
        ("alpha", "nodes"),
        ("gamma", "call", "time.get_current_time", "timezone=Asia/Tokyo"),
        ("beta", "call", "text.count_words", "text=three small words"),
        ("alpha", "memory", "put", "the ferry leaves at noon", "--as", "ferry"),
        ("alpha", "state"),
    ):
        say(*words)
    print("\n$ kill -9 beta")
    nodes["beta"].kill()
    nodes["beta"].wait()
    print(wait_for("alpha", "dead", "nodes"))
    for words in (
        ("alpha", "call", "text.count_words", "text=still served"),
        ("gamma", "memory", "search", "when does the boat leave"),
    ):
        say(*words)
    print("\n$ flowserve --config configs/cluster/delta.toml")
    nodes["delta"] = start("delta", folder)
    wait_for("delta", "delta", "nodes")
    say("alpha", "members", "add", "delta")
    say("gamma", "members", "promote", "delta", "--remove", "beta")
    say("delta", "memory", "get", "ferry")


def main() -> int:
    """Start them, say how to use them, wait, end them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--show", action="store_true", help="show what it does, and end")
    wanted = options.parse_args()
    if not (CONFIGS / "certs" / "delta.pem").exists():
        names = [*NODES, *LATER, "--dir", str(CONFIGS / "certs")]
        subprocess.run([str(BIN / "flowctl"), "certs", "cluster", *names], check=True)
    signal.signal(signal.SIGTERM, _end)
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    kept = tempfile.TemporaryDirectory() if wanted.show else None  # a show begins with nothing
    folder = kept.name if kept else None
    try:
        for name in NODES:
            nodes[name] = start(name, folder)
        for name in NODES:
            for tool in ("git.git_status", "text.count_words", "time.get_current_time", "units."):
                wait_for(name, tool, "tools")
        urls = "   ".join(f"http://127.0.0.1:{port}/mcp" for port in NODES.values())
        print(USE.format(urls=urls, victim=nodes["beta"].pid), flush=True)
        if folder is not None:
            show(nodes, folder)
        else:
            for process in nodes.values():
                process.wait()
    except KeyboardInterrupt:
        print("ending them", flush=True)
    finally:
        for process in nodes.values():
            if process.poll() is None:
                process.terminate()
        for process in nodes.values():
            process.wait(timeout=60)
        if kept:
            kept.cleanup()
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
