"""`check_plugin`: every check that a plugin's components must hold, all faults reported at once."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from flowcore.config import ConfigError
from flowcore.testing import (
    of_agents,
    of_auth,
    of_balancers,
    of_consensus,
    of_edges,
    of_embedders,
    of_exporters,
    of_gates,
    of_guards,
    of_measures,
    of_membership,
    of_modules,
    of_settings,
    of_storage,
    of_topologies,
    of_vectors,
)
from flowcore.testing.bench import Bench, has_what_its_kind_has, leaves_nothing_open
from flowcore.testing.findings import CheckFailed, Report, Wrong, told
from flowcore.testing.trial import Trial

Check = Callable[[Bench], Awaitable[None]]

OF_ALL: Sequence[Check] = (
    of_settings.are_documented,
    of_settings.are_frozen,
    of_settings.can_be_shown,
    of_settings.refuse_unknown_keys,
    of_settings.refuse_wrong_values,
    of_settings.factory_says_what_can_be_used,
)
OF_OPENED: Sequence[Check] = (
    has_what_its_kind_has,
    leaves_nothing_open,
    of_measures.measures_what_it_says,
)
OF_KIND: Mapping[str, Sequence[Check]] = {
    "agent": (
        *OF_OPENED,
        of_agents.says_how_it_is_pooled,
        of_agents.announces_what_it_has,
        of_agents.answers_calls,
        of_agents.refuses_what_it_has_not,
        of_agents.lets_go_of_cancelled_calls,
        of_agents.lives_in_a_flow,
    ),
    "auth": (
        *OF_OPENED,
        of_auth.challenges,
        of_auth.leaves_alone_what_is_not_its_own,
        of_auth.knows_nobody_by_garbage,
        of_auth.knows_who_it_should,
        of_auth.serves_many_at_once,
    ),
    "balancer": (
        *OF_OPENED,
        of_balancers.picks_a_candidate,
        of_balancers.repeats_itself,
        of_balancers.is_fair,
        of_balancers.forgets_who_is_gone,
    ),
    "consensus": (
        *OF_OPENED,
        of_consensus.puts_all_into_one_order,
        of_consensus.tells_who_follows,
        of_consensus.refuses_by_typed_errors,
        of_consensus.survives_who_goes_away,
        of_consensus.lets_go,
        of_consensus.carries_a_state,
        of_consensus.says_what_it_does,
        of_consensus.shows_what_is_in_the_log,
    ),
    "edge": (
        of_edges.claims_what_it_takes,
        of_edges.asks_who_comes_in,
        of_edges.says_where_it_is,
        of_edges.survives_strangers,
        of_edges.closes_in_a_flow,
    ),
    "embedder": (
        *OF_OPENED,
        of_embedders.says_who_it_is,
        of_embedders.gives_a_vector_a_text,
        of_embedders.repeats_itself,
        of_embedders.knows_what_is_alike,
        of_embedders.takes_any_text,
        of_embedders.leaves_what_it_is_given,
        of_embedders.serves_many_at_once,
        of_embedders.says_what_it_did,
    ),
    "exporter": (
        *OF_OPENED,
        of_exporters.says_what_it_wants,
        of_exporters.takes_or_says_that_it_did_not,
        of_exporters.answers_who_fetches,
        of_exporters.says_what_it_did,
        of_exporters.lives_in_a_flow,
    ),
    "gate": (
        *OF_OPENED,
        of_gates.ranks_by_what_they_say,
        of_gates.takes_any_text,
        of_gates.ranks_only_who_may_be_chosen,
        of_gates.follows_who_is_there,
        of_gates.refuses_what_would_poison_it,
        of_gates.learns_what_it_says,
        of_gates.repeats_itself,
        of_gates.is_kept,
    ),
    "guard": (
        *OF_OPENED,
        of_guards.is_a_guard,
        of_guards.passes_or_refuses,
        of_guards.takes_nothing_unseen,
        of_guards.is_even_again,
        of_guards.forgets_what_is_over,
        of_guards.stands_in_a_flow,
        of_guards.says_what_it_does,
        of_guards.is_steered_by_name,
    ),
    "membership": (
        *OF_OPENED,
        of_membership.knows_itself,
        of_membership.finds_who_is_there,
        of_membership.tells_about,
        of_membership.knows_who_is_lost,
        of_membership.knows_who_leaves,
        of_membership.survives_strangers,
        of_membership.says_what_it_measures,
    ),
    "storage": (
        *OF_OPENED,
        of_storage.keeps_entries_in_order,
        of_storage.refuses_what_does_not_follow,
        of_storage.lets_go,
        of_storage.keeps_a_snapshot_whole,
        of_storage.is_there_again,
        of_storage.trusts_no_damaged_file,
        of_storage.says_what_it_holds,
    ),
    "topology": (
        *OF_OPENED,
        of_topologies.links_both_ways,
        of_topologies.leads_everywhere_within_its_reach,
        of_topologies.broadcasts_to_each_once,
        of_topologies.holds_together,
        of_topologies.moves_few_links,
        of_topologies.is_the_same_everywhere,
        of_topologies.leads_to_no_stranger,
    ),
    "vectors": (
        *OF_OPENED,
        of_vectors.finds_what_is_near,
        of_vectors.obeys_a_filter,
        of_vectors.refuses_wrong_vectors,
        of_vectors.keeps_what_was_saved,
        of_vectors.knows_its_space,
        of_vectors.forgets_when_cleared,
        of_vectors.keeps_names_apart,
        of_vectors.shows_changes_whole,
        of_vectors.says_what_it_did,
        of_vectors.closes_while_it_is_used,
    ),
}


async def check_plugin(plugin: object, trials: Mapping[str, Trial] | None = None) -> Report:
    """Check a plugin, and everything it offers, against what flowcore relies on.

    `plugin` is a module, its name, the path of a one-file plugin, or an object with a `flow_register` hook.
    `trials` says by type how each of its components is tried; a component that works with no settings needs
    none. Components are opened in flows of their own, with real sockets and processes where they use them.
    Gives what was checked; raises CheckFailed, an AssertionError, with all that is wrong.
    """
    plugin = of_modules.found(plugin)
    name = getattr(plugin, "__name__", type(plugin).__name__)
    trials = trials or {}
    try:
        registry, mine, installed = of_modules.registered(plugin, name)
    except Wrong as error:
        raise CheckFailed(name, (str(error),)) from error
    problems = [
        f"there is a trial for {type_!r}, which the plugin does not offer"
        for type_ in sorted(trials.keys() - {type_ for _, type_ in mine})
    ]
    try:
        of_modules.imports_what_is_public(plugin)
    except Wrong as error:
        problems.append(f"{_sentence(of_modules.imports_what_is_public)}: {error}")
    checked = {}
    for kind, type_ in mine:
        bench = Bench(
            factory=registry.factory(kind, type_),
            registry=registry,
            plugin=None if installed else plugin,
            trial=trials.get(type_, Trial()),
        )
        checks, faults = await _check(bench)
        checked[f"{kind} {type_}"] = checks
        problems += [f"{kind} {type_}: {one}" for one in faults]
    if problems:
        raise CheckFailed(name, tuple(problems))
    return Report(plugin=name, checked=checked)


async def _check(bench: Bench) -> tuple[tuple[str, ...], list[str]]:
    """The checks that hold, and what is wrong."""
    try:
        bench.made()
    except ConfigError as error:
        return (), [f"it cannot be tried: say in trials how, Trial(settings=...): {error}"]
    held, faults = [], []
    for check in (*OF_ALL, *OF_KIND[bench.factory.kind]):
        sentence = _sentence(check)
        try:
            with trio.fail_after(bench.trial.within):
                await check(bench)
        except trio.TooSlowError:
            faults.append(f"{sentence}: not within {bench.trial.within:g} s")
        except Exception as error:
            faults.append(f"{sentence}: {told(error)}")
        else:
            held.append(sentence)
    return tuple(held), faults


def _sentence(check: Callable[..., object]) -> str:
    return inspect.cleandoc(check.__doc__ or "")
