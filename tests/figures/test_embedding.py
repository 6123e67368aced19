"""The family `embedding`: it measures the embedders themselves, and says what is missing."""

from __future__ import annotations

import pathlib

import pytest

from benchmarks import embedding
from support.sentence_models import minilm


def test_it_measures_each_way_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    minilm()
    monkeypatch.setattr(embedding, "ROUNDS", 1)
    figures = embedding.run(texts=4)
    names = {figure.name for figure in figures}
    for name in ("hashed", "MiniLM", "MiniLM int8"):
        assert {f"{name}: a text, p50", f"{name}: loop held", f"{name}: from the cache"} <= names
    assert all(figure.value is not None and figure.value > 0 for figure in figures)


def test_without_the_model_it_says_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(embedding, "MINILM", tmp_path)
    monkeypatch.setattr(embedding, "QUANTISED", tmp_path / "model.onnx")
    monkeypatch.setattr(embedding, "ROUNDS", 1)
    missing = [figure for figure in embedding.run(texts=2) if figure.value is None]
    assert [figure.name for figure in missing] == ["MiniLM: a text", "MiniLM int8: a text"]
    for figure in missing:
        (peer,) = figure.peers.values()
        assert "make models" in peer.why
