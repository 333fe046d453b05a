"""The dotted names of settings: who has them, and which was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from segkit.config.settings import RunConfig
from segkit.errors import nearest, shown


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """The first mistake in words: ``run.model.encoder_chanels is not a setting of UNetSettings; did you mean encoder_channels?``"""
    first = error.errors()[0]
    names, owner = _follow(root, first["loc"])
    where = ".".join(["run", *names])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "union_tag_invalid":
        tag, choices = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        return f"{where}.{first['ctx']['discriminator'].strip(chr(39))}: {tag!r} is not one of {choices}{more}"
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        found = "" if isinstance(first["input"], Mapping) else f", found {shown(first['input'])}"  # a whole group of settings would bury the message
        return f"{where}: {message}{found}{more}" if first["loc"] else message
    hint = nearest(names[-1], owner.model_fields) or _asked(".".join(names)) or f"it has: {', '.join(owner.model_fields)}"
    return f"{where} is not a setting of {owner.__name__}; {hint}{more}"


def _follow(model: type[BaseModel], path: Sequence[int | str]) -> tuple[list[str], type[BaseModel]]:
    """The names that a person would write for a path, and the settings class that its last name belongs to; tags of unions are left out."""
    names: list[str] = []
    choices = [model]
    for part in path:
        tagged = [choice for choice in choices if _kind(choice) == part]
        if len(choices) > 1 and tagged:
            choices = tagged
            continue
        model = choices[0] if choices else model
        names.append(str(part))
        choices = list(models_in(model.model_fields[str(part)].annotation)) if str(part) in model.model_fields else []
    return names, model


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models_in(part)


def _kind(model: type[BaseModel]) -> Any:
    return next((model.model_fields[name].default for name in ("kind", "name") if name in model.model_fields), None)


def owners_of(key: str) -> tuple[list[type[BaseModel]], bool]:
    """The settings classes that have the last name of a dotted key, none where it is no setting; and whether names of the user's own end it (data.labels)."""
    owners: list[type[BaseModel]] = []
    choices: list[type[BaseModel]] = [RunConfig]
    names = key.split(".")
    for place, name in enumerate(names, start=1):
        owners = [choice for choice in choices if name in choice.model_fields]
        annotations = [owner.model_fields[name].annotation for owner in owners]
        if any(get_origin(annotation) is dict for annotation in annotations):
            return owners, place < len(names)
        choices = [model for annotation in annotations for model in models_in(annotation)]
    return owners, False


def not_there(key: str) -> str:
    """A key that is no setting, in words: ``train.lr is not a setting: did you mean train.learning_rate?``"""
    places, room = _places(RunConfig), key.rpartition(".")[0]
    beside = [place for place in places if place.rpartition(".")[0] == room]
    if room in places and not beside:
        return f"{room} is a value, not a group of settings"
    there = ", ".join(place.rpartition(".")[2] for place in beside) or ", ".join(RunConfig.model_fields)
    whose = room if beside and room else "a run"
    return f"{key} is not a setting: {_asked(key) or f'{whose} has {there}'}"


def _asked(key: str) -> str:
    """"did you mean train.learning_rate?" of train.lr, learning_rate, train.learn or train.lerning_rate; nothing where no setting is like it.

    What is called so elsewhere, begins so or has these initials goes before what is spelled alike, and the group that was named before the others.
    """
    room, _, name = key.casefold().rpartition(".")
    leaves = {place: place.rpartition(".")[2] for place in _places(RunConfig)}
    same = [place for place, leaf in leaves.items() if len(name) > 1 and (leaf.startswith(name) or name == "".join(word[:1] for word in leaf.split("_")))]
    inside = {leaf: place for place, leaf in leaves.items() if place.rpartition(".")[0] == room}
    anywhere = {leaf: place for place, leaf in reversed(leaves.items())}
    close = [names[leaf] for names in (inside, anywhere) for leaf in difflib.get_close_matches(name, names, n=1)]
    meant = [place for place in same if place.rpartition(".")[0] == room] or same or close[:1]
    return f"did you mean {' or '.join(meant[:3])}?" if meant else ""


def _places(model: type[BaseModel], room: str = "") -> list[str]:
    """Dotted names of all groups and settings, each once."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner = [] if get_origin(field.annotation) is dict else models_in(field.annotation)
        found += [f"{room}{name}", *(place for group in inner for place in _places(group, f"{room}{name}."))]
    return list(dict.fromkeys(found))
