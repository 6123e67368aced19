"""The settings of the gate `moe`."""

from __future__ import annotations

import attrs

from flow_gates.settings import DescribedSettings, NearestSettings
from flowcore.config import setting
from flowcore.config import validators as v


@attrs.frozen(kw_only=True)
class LearningSettings:
    """How the weights of the gate follow lessons."""

    vectors: float = setting(
        2.0, validator=v.in_range(0, 1000), help="learning rate of the weights of vectors, at first"
    )
    words: float = setting(
        2.0, validator=v.in_range(0, 1000), help="learning rate of the weights of words, at first"
    )
    settles: float = setting(
        200.0,
        validator=v.gt(0),
        help="lessons of an expert after which its rates are 0.7 of what they were at first: they go"
        " down by 1 / sqrt(1 + lessons / settles)",
    )
    slowest: float = setting(
        0.2,
        validator=v.in_range(0, 1),
        help="the part of the first rates that is never gone below, so that it follows changes",
    )
    shortlist: int = setting(
        48,
        validator=v.in_range(8, 4096),
        help="how many experts, best by vectors and descriptions, words are learned and weighed for",
    )
    others: float = setting(
        0.0,
        validator=v.in_range(0, 1),
        help="how far a lesson also takes from experts that had none since the last consolidation:"
        " 0 is the labels trick, 1 does without it",
    )
    max_weight: float = setting(
        2.0,
        validator=v.in_range(0.01, 1000),
        help="the most that a lesson counts, its weight over its propensity; what is more is cut",
    )
    absent: int = setting(
        10_000,
        validator=v.ge(0),
        help="lessons until what was learned of an expert that is gone is forgotten",
    )


@attrs.frozen(kw_only=True)
class ReplaySettings:
    """What is kept to be learned again beside new lessons."""

    kind: str = setting(
        "examples",
        validator=v.one_of("examples", "prototypes", "off"),
        help="keep examples, or mean and deviation of each expert's vectors, or nothing",
    )
    per_expert: int = setting(
        20, validator=v.in_range(1, 10_000), help="most examples that are kept of each expert"
    )
    total: int = setting(
        20_000, validator=v.in_range(1, 10_000_000), help="most examples that are kept of all"
    )
    samples: int = setting(
        3, validator=v.in_range(0, 100), help="how many are learned again with each lesson"
    )


@attrs.frozen(kw_only=True)
class EwcSettings:
    """EWC++: how far weights that matter for what is known hold on to their values."""

    enabled: bool = setting(True, help="whether they do")
    strength: float = setting(
        0.001, validator=v.in_range(0, 1e6), help="how strongly: the penalty's factor, lambda"
    )
    fisher_rate: float = setting(
        0.01,
        validator=v.in_range(1e-6, 1),
        help="how much a lesson counts in the running Fisher information, alpha",
    )
    path: bool = setting(
        True, help="whether the score of the path, how much a weight has helped, counts too"
    )
    interval: int = setting(
        10,
        validator=v.in_range(1, 100_000),
        help="moves of an expert's weights between two points of their path",
    )
    every: int = setting(
        0,
        validator=v.ge(0),
        help="consolidate by itself after so many lessons; 0 only when it is told to",
    )


@attrs.frozen(kw_only=True)
class ScopeSettings:
    """From when on the answer is "don't know"."""

    cold: float = setting(
        3.0,
        validator=v.in_range(-100, 100),
        help="how strong the best expert must be before the threshold can be fitted, in logits",
    )
    miss: float = setting(
        0.05,
        validator=v.in_range(0, 0.5),
        help="the most of what somebody is there for that may be taken for out of scope",
    )


@attrs.frozen(kw_only=True)
class ExplorationSettings:
    """Trying out experts without side effects of which little is known, by Thompson sampling."""

    enabled: bool = setting(True, help="whether that is done, for requests that allow it")
    scale: float = setting(
        1.0,
        validator=v.in_range(0, 100),
        help="how unsure it is of an expert that had no lesson, in logits",
    )
    among: int = setting(8, validator=v.in_range(1, 64), help="how many of the best may be tried")
    reach: float = setting(
        3.0,
        validator=v.in_range(0, 100),
        help="how far behind the best an expert is tried, in logits",
    )


@attrs.frozen(kw_only=True)
class LoadSettings:
    """Choosing among near-equals by load."""

    enabled: bool = setting(True, help="whether load counts")
    step: float = setting(
        0.05,
        validator=v.in_range(0, 10),
        help="how fast the bias of a busy expert grows, in logits",
    )
    most: float = setting(
        1.0,
        validator=v.in_range(0, 10),
        help="the most it comes to: experts that differ by more than that never change places",
    )


@attrs.frozen(kw_only=True)
class MoeConfig:
    """A softmax gate that learns online from outcomes, and holds on to what it knows."""

    described: DescribedSettings = setting(
        factory=DescribedSettings, help="what experts say of themselves"
    )
    nearest: NearestSettings = setting(
        factory=NearestSettings, help="patterns that are near to a request"
    )
    learning: LearningSettings = setting(factory=LearningSettings, help="how it learns")
    replay: ReplaySettings = setting(factory=ReplaySettings, help="what is learned again")
    ewc: EwcSettings = setting(factory=EwcSettings, help="what is held on to: EWC++")
    metric: bool = setting(
        True,
        help="whether a gate that is trained anew also learns how vectors are compared, alike for all"
        " experts; where they had no more lessons each than are kept, and vectors know more than words",
    )
    calibration: bool = setting(True, help="fit the temperature of probabilities to outcomes")
    scope: ScopeSettings = setting(factory=ScopeSettings, help="when nobody is there for a request")
    exploration: ExplorationSettings = setting(
        factory=ExplorationSettings, help="trying out experts of which little is known"
    )
    load: LoadSettings = setting(factory=LoadSettings, help="choosing by load")
