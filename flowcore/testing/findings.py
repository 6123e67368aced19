"""What checks find: a fault each, and the report of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs


class Wrong(Exception):
    """What a check has found, in words for the plugin's author."""


class CheckFailed(AssertionError):
    """A plugin does not hold to what its kind promises. `problems` has all that was found."""

    def __init__(self, plugin: str, problems: tuple[str, ...]) -> None:
        self.plugin = plugin
        self.problems = problems
        listed = "".join(f"\n- {one}" for one in problems)
        super().__init__(f"plugin {plugin!r} does not hold to its interface:{listed}")


@attrs.frozen(kw_only=True)
class Report:
    """What was checked of a plugin, and holds."""

    plugin: str
    checked: Mapping[str, tuple[str, ...]]
    """By component, as `balancer sticky`: the checks, each as a sentence."""

    def __str__(self) -> str:
        return "\n".join(
            f"{name}: {one}" for name, checks in self.checked.items() for one in checks
        )


def told(error: BaseException) -> str:
    """What went wrong, without the groups it came in."""
    leaves = list(_leaves(error))
    found = [str(one) for one in leaves if isinstance(one, Wrong)]
    return "; ".join(found or [f"{type(one).__name__}: {one}"[:500] for one in leaves])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
