"""faiss on the same vectors, one thread: `faiss_index.py COUNT FACTORY SEARCH TRUTH.npy`, an answer as JSON.

SEARCH is efSearch of an HNSW, nprobe of an IVF.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time

import faiss
import numpy as np
from index_data import DIMENSIONS, chunks, queries


def main(count: int, factory: str, search: int, truth: str) -> dict[str, object]:
    faiss.omp_set_num_threads(1)
    index = faiss.index_factory(DIMENSIONS, factory, faiss.METRIC_INNER_PRODUCT)
    began = time.perf_counter()
    if not index.is_trained:
        wanted = 40 * 4096
        some = np.concatenate([part for start, part in chunks(count) if start < wanted])
        index.train(some)
    if factory.startswith("HNSW"):
        index.hnsw.efConstruction = 200
    for _, part in chunks(count):
        index.add(part)
    built = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "index")
        faiss.write_index(index, path)
        size = os.path.getsize(path)
        began = time.perf_counter()
        index = faiss.read_index(path)
        opened = time.perf_counter() - began
    if factory.startswith("HNSW"):
        index.hnsw.efSearch = search
    else:
        index.nprobe = search
    seconds, found = [], 0
    right = np.load(truth)
    for number, query in enumerate(queries()):
        began = time.perf_counter()
        _, ids = index.search(query[np.newaxis], 10)
        seconds.append(time.perf_counter() - began)
        found += len(np.intersect1d(ids[0], right[number]))
    seconds.sort()
    return {
        "version": f"faiss {faiss.__version__}, {factory}, {search}",
        "recall": found / right.size,
        "p50": seconds[len(seconds) // 2],
        "p99": seconds[int(0.99 * len(seconds))],
        "opened": opened,
        "built": built,
        "bytes": size,
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])))
