"""Four nodes on this machine, of which one may lie: `make cluster-bft`.

    python examples/cluster_bft/run.py                  # until Ctrl-C
    python examples/cluster_bft/run.py --show           # show what it does, kill a node, show again, end

Makes certificates in configs/bft/certs the first time, starts four flowserve processes from
configs/bft/*.toml, and says how to use them.
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
CONFIGS = ROOT / "configs" / "bft"
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


def ctl(node: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run flowctl against a node."""
    url = f"http://127.0.0.1:{NODES[node] + 1}"
    return subprocess.run(
        [str(BIN / "flowctl"), "--url", url, *words], capture_output=True, text=True, check=False
    )


def say(*words: str) -> None:
    """Run flowctl against a node, and show it."""
    print(f"\n$ flowctl --url http://127.0.0.1:{NODES[words[0]] + 1} {' '.join(words[1:])}")
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


def show(nodes: dict[str, subprocess.Popen[bytes]]) -> None:
    """What one can see of them, before and after the leader is killed."""
    wait_for("alpha", "ferry", "memory", "put", "the ferry leaves at noon", "--as", "ferry")
    say("alpha", "state")
    say("delta", "memory", "search", "when does the boat leave")
    print("\n$ kill -9 alpha")
    nodes["alpha"].kill()
    nodes["alpha"].wait()
    print(wait_for("beta", "train", "memory", "put", "the train leaves at one", "--as", "train"))
    say("gamma", "memory", "get", "train")
    say("beta", "state")


def main() -> int:
    """Start them, say how to use them, wait, end them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--show", action="store_true", help="show what it does, and end")
    wanted = options.parse_args()
    if not (CONFIGS / "certs" / "delta.pem").exists():
        names = [*NODES, "--dir", str(CONFIGS / "certs")]
        subprocess.run([str(BIN / "flowctl"), "certs", "cluster", *names], check=True)
    signal.signal(signal.SIGTERM, _end)
    nodes: dict[str, subprocess.Popen[bytes]] = {}
    kept = tempfile.TemporaryDirectory() if wanted.show else None  # a show begins with nothing
    folder = kept.name if kept else None
    try:
        for name in NODES:
            nodes[name] = start(name, folder)
        for name in NODES:
            wait_for(name, "text.count_words", "tools")
        urls = "   ".join(f"http://127.0.0.1:{port}/mcp" for port in NODES.values())
        print(USE.format(urls=urls, victim=nodes["alpha"].pid), flush=True)
        if folder is not None:
            show(nodes)
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
