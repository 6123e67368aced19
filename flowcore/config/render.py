"""A configuration shown: as TOML text, as JSON schema, as a reference for people, as a difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from flowcore.config.lines import dotted, toml_string
from flowcore.config.settings import Selection, about, is_settings
from flowcore.config.shapes import Listing, Maybe, Named, Series, Shape
from flowcore.config.tables import (
    Select,
    Table,
    selection_shown,
    shaped_fields,
    shown,
    table_schema,
)


def show(config: Any) -> str:
    """The effective configuration as TOML text, defaults included, secrets masked."""
    plain, tables = [], []
    for name, field, shape in shaped_fields(type(config)):
        value = getattr(config, field.name)
        if isinstance(shape, Named) and isinstance(shape.of, Select):
            tables += [_component(dotted((name, key)), one) for key, one in value.items()]
        elif isinstance(value, Selection):
            tables.append(_component(name, value))
        elif is_settings(value):
            tables.append(_table(name, shown(value)))
        elif value is not None:
            plain.append(f"{name} = {shape.show(value)}")
    # keys of the root come first: after a header they would belong to its table
    return "\n\n".join(["\n".join(plain)] * bool(plain) + tables) + "\n"


def _component(path: str, chosen: Selection) -> str:
    return _table(path, [("type", toml_string(chosen.type)), *selection_shown(chosen)])


def _table(path: str, keys: Iterable[tuple[str, str]]) -> str:
    return "\n".join([f"[{path}]", *(f"{name} = {text}" for name, text in keys)])


def json_schema(cls: type, listing: Listing) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the TOML files that `cls` takes on this installation."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flowcore configuration",
        **table_schema((cls,), listing),
    }


def reference_markdown(cls: type, listing: Listing) -> str:
    """Every key with its form, default and meaning, as Markdown; made from the classes alone."""
    parts: list[str] = []
    for name, field, shape in shaped_fields(cls):
        said = about(field)
        inner = _without_maybe(shape)
        if isinstance(inner, Named) and isinstance(inner.of, Select):
            parts.append(f"## `[{name}.NAME]`\n\n{_sentence(said.help)}\n")
            parts.extend(_selected(inner.of, f"{name}.NAME", listing))
        elif isinstance(inner, Select):
            parts.append(f"## `[{name}]`\n\n{_sentence(said.help)}\n")
            parts.extend(_selected(inner, name, listing))
        elif isinstance(inner, Table):
            parts.append(f"## `[{name}]`\n\n{_sentence(said.help)}\n\n{_rows(inner.cls, '')}\n")
            parts.extend(_inner_selections(inner.cls, name, listing))
        else:
            default = _default(field, shape)
            form = f"{inner.words()}; default `{default}`" if default else inner.words()
            parts.append(f"## `{name}`\n\n{_sentence(said.help)} Form: {form}.\n")
    return "\n".join(parts)


def _without_maybe(shape: Shape) -> Shape:
    return shape.of if isinstance(shape, Maybe) else shape


def _selected(select: Select, path: str, listing: Listing) -> Iterator[str]:
    if select.common is not None:
        yield f"Every {select.kind} has these keys:\n\n{_rows(select.common, '')}\n"
        yield from _inner_selections(select.common, path, listing)
    for type_, own in sorted(listing.get(select.kind, {}).items()):
        yield f"### `[{path}]` with `type = {toml_string(type_)}`\n\n{_doc(own)}\n\n{_rows(own, '')}\n"


def _inner_selections(cls: type, path: str, listing: Listing) -> Iterator[str]:
    for name, _, shape in shaped_fields(cls):
        inner = _without_maybe(shape)
        if isinstance(inner, Select):
            for type_, own in sorted(listing.get(inner.kind, {}).items()):
                title = f"### `[{path}.{name}]` with `type = {toml_string(type_)}`"
                yield f"{title}\n\n{_doc(own)}\n\n{_rows(own, '')}\n"


def _rows(cls: type, prefix: str) -> str:
    rows = [
        f"| `{key}` | {form} | {f'`{default}`' if default else ''} | {meaning} |"
        for key, form, default, meaning in settings_table(cls, prefix)
    ]
    if not rows:
        return "No keys of its own."
    return "\n".join(["| key | form | default | meaning |", "|---|---|---|---|", *rows])


def settings_table(cls: type, prefix: str = "") -> list[tuple[str, str, str, str]]:
    """(key, form, default, meaning) of each key of a class and of the tables within it."""
    return list(_row_lines(cls, prefix))


def _row_lines(cls: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, field, shape in shaped_fields(cls):
        inner = _without_maybe(shape)
        said = about(field)
        live = " (reloadable)" if said.reloadable else ""
        if isinstance(inner, Table):
            yield f"{prefix}{name}", "a table", "", f"{said.help}{live}"
            yield from _row_lines(inner.cls, f"{prefix}{name}.")
        elif isinstance(inner, (Series, Named)) and isinstance(inner.of, Table):
            each = "[]" if isinstance(inner, Series) else ".NAME"
            yield f"{prefix}{name}", inner.words(), _default(field, shape), f"{said.help}{live}"
            yield from _row_lines(inner.of.cls, f"{prefix}{name}{each}.")
        else:
            yield f"{prefix}{name}", inner.words(), _default(field, shape), f"{said.help}{live}"


def _default(field: attrs.Attribute[Any], shape: Shape) -> str:
    default: Any = field.default
    if default is attrs.NOTHING:
        return "required"
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory()
    return "" if default is None else shape.show(default)


def _doc(cls: type) -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """The path of each setting that differs, and whether it is reloadable."""
    for field in attrs.fields(type(old)):
        name = f"{path}.{field.name}" if path else field.name
        before, after = getattr(old, field.name), getattr(new, field.name)
        reloadable = about(field).reloadable
        if isinstance(before, dict) and isinstance(after, dict):
            for key in sorted(before.keys() | after.keys()):
                one = f"{name}.{dotted((key,))}"
                yield from _difference(before.get(key), after.get(key), one, reloadable)
        else:
            yield from _difference(before, after, name, reloadable)


def _difference(before: Any, after: Any, path: str, reloadable: bool) -> Iterator[tuple[str, bool]]:
    if before == after:
        return
    chosen = isinstance(before, Selection) and isinstance(after, Selection)
    if chosen and before.type == after.type:
        yield from differences(before.config, after.config, path)
        if before.common is not None:
            yield from differences(before.common, after.common, path)
    elif type(before) is type(after) and is_settings(before):
        yield from differences(before, after, path)
    else:
        yield path, reloadable
