"""A few seeds of the campaign: nothing that is promised is broken, and what is measured becomes figures."""

from __future__ import annotations

import pathlib
from typing import Any

import attrs
import pytest

from benchmarks import gossip, gossip_campaign
from benchmarks.gossip_campaign import Run, Slow, campaign, run_seed, told


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_swarm_keeps_its_promises_through_all_of_it(seed: int) -> None:
    run = run_seed(seed)
    assert run.broken == []
    assert 0 < run.first_suspected < run.first_dead <= run.last_dead <= 5
    assert run.healed >= 0
    assert run.rejoined >= 0


@pytest.mark.long
@pytest.mark.parametrize("seed", [619, 741, 830, 874])
def test_who_comes_back_and_cannot_hear_the_first_seed_is_told_by_another(seed: int) -> None:
    assert run_seed(seed).broken == []


def done(seed: int, **changes: Any) -> Run:
    run = Run(
        seed=seed,
        first_suspected=0.6,
        first_dead=2.4,
        last_dead=2.6,
        rejoined=0.5,
        healed=1.0,
        node_seconds=3600.0,
        idle_bytes=1000.0,
        datagrams=20.0,
    )
    return attrs.evolve(run, **changes)


def test_a_campaign_goes_on_where_it_was_broken_off(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip_campaign, "run_seed", done)
    keep = tmp_path / "runs"
    assert [one.seed for one in campaign(3, 1, processes=1, keep=keep)] == [1, 2, 3]

    def never(seed: int) -> Run:
        raise AssertionError(seed)

    monkeypatch.setattr(gossip_campaign, "run_seed", never)
    assert [one.seed for one in campaign(3, 1, processes=1, keep=keep)] == [1, 2, 3]


def test_what_was_measured_becomes_figures_and_what_is_broken_is_named() -> None:
    runs = [
        done(0, lifeguard=Slow(suspected=1), plain=Slow(suspected=9, dead=3)),
        done(1, broken=["node-01 was held for dead, and lived"], false_deaths=1, last_dead=6.0),
    ]
    figures = {figure.name: figure for figure in gossip._simulated(runs)}
    assert figures["simulated swarms that broke a promise"].met is False
    assert figures["a crash: dead for all, most"].met is False
    assert figures["false deaths, 10 % loss"].value == 1
    assert figures["a crash: first suspicion, p50"].value == 0.6
    text = told(runs)
    assert "seed 1: node-01 was held for dead, and lived" in text
    assert "without: 9.0 quick ones suspected, 3.00 held for dead" in text
