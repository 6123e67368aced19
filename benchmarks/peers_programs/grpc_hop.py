"""A hop by gRPC: `grpc_hop.py serve FOLDER PORT`, `grpc_hop.py call FOLDER PORT COUNT SIZE`."""

from __future__ import annotations

import json
import pathlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

METHOD = "/flow.Hop/Call"
WARM = 500


def pem(folder: pathlib.Path, name: str) -> tuple[bytes, bytes, bytes]:
    """CA, key, certificate."""
    files = ("ca.pem", f"{name}.key", f"{name}.pem")
    ca, key, cert = ((folder / one).read_bytes() for one in files)
    return ca, key, cert


def serve(folder: pathlib.Path, port: str) -> None:
    """Send back what comes."""
    server = grpc.server(ThreadPoolExecutor(4))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("flow.Hop", {"Call": handler}),)
    )
    ca, key, cert = pem(folder, "there")
    credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=True)
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    server.wait_for_termination()


def call(folder: pathlib.Path, port: str, count: int, size: int) -> None:
    """Call one after the other; how long each took, as JSON."""
    ca, key, cert = pem(folder, "here")
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    took = []
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        method = channel.unary_unary(METHOD)
        request = bytes(size)
        for _ in range(WARM):
            method(request, wait_for_ready=True)
        for _ in range(count):
            began = time.perf_counter()
            method(request)
            took.append(time.perf_counter() - began)
    print(json.dumps(took))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(pathlib.Path(sys.argv[2]), sys.argv[3])
    else:
        call(pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
