"""The ids of steps in a run and in its shape: how they belong together, and the addresses they give. Pure; no imports.

A *template* is a step as written, its id its static path: ``refine.*/fit``, ``each[]/train``, ``route.case/parse``.
A journal names *instances*: ``refine.2/fit``, ``each[3]/train``. An instance whose id still holds ``[]`` is an array:
its elements go there. A *body* is what a construct runs as one: an iteration, an item, a case.

>>> template_of("each[3]/refine.2/fit")
'each[]/refine.*/fit'
>>> address_of("each[]/fit", 3, fan_out=False), address_of("train", 3, fan_out=True)
('each[3]/fit', 'train[3]')
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

CONSTRUCTS = frozenset(
    ("sequential", "parallel", "each", "loop", "switch", "try", "stream", "dynamic", "workflow"),
)
"""The kinds of steps that are made of other steps."""

_PLACE = re.compile(r"\[\d*\]|\.(?:\d+|\*)(?=[/.]|$)")
_ITEM, _TURN = re.compile(r"\[\d+\]"), re.compile(r"\.\d+(?=[/.]|$)")
_BODY = re.compile(
    r"\[(?P<item>\d*)\](?=[/.])|\.(?P<turn>\d+|\*)(?=[/.])"
    r"|\.(?P<arm>case(?:_\d+)?|default|try|catch(?:_\d+)?|finally)(?=/)"
)
_ELEMENT = re.compile(r"(.+)\[(\d+)\]")


class Place(NamedTuple):
    """A body that a step is inside of.

    Args:
        construct: the id of its construct, an instance's or a template's as the step's own.
        arm: which body: "[]" an item, "*" an iteration, else its name, such as "case_1" or "finally".
        at: the item's or iteration's place, or None where the id leaves it open.
    """

    construct: str
    arm: str
    at: int | None


def template_of(step: str) -> str:
    """Return the id of the template that an instance is of."""
    if "[" in step:
        step = _ITEM.sub("[]", step)
    return _TURN.sub(".*", step) if "." in step else step


def address_of(step: str, index: int, *, fan_out: bool) -> str:
    """Return the address of an instance's element."""
    if "[]" in step:
        return step.replace("[]", f"[{index}]", 1)
    return f"{step}[{index}]" if fan_out else step


def addresses_of(step: str, lo: int, hi: int, *, fan_out: bool) -> list[str]:
    """Return the addresses of an instance's neighbouring elements."""
    if "[]" not in step and not fan_out:
        return [step] * (hi - lo)
    head, _, tail = step.partition("[]")
    return [f"{head}[{index}]{tail}" for index in range(lo, hi)]


def places(step: str) -> Iterator[Place]:
    """Yield the bodies a step is inside of, outermost first."""
    for found in _BODY.finditer(step):
        construct = step[: found.start()]
        if found["arm"]:
            yield Place(construct, found["arm"], None)
        elif found["turn"]:
            yield Place(construct, "*", int(found["turn"]) if found["turn"] != "*" else None)
        else:
            yield Place(construct, "[]", int(found["item"]) if found["item"] else None)


def arm_of(template: str, group: str) -> str:
    """Return which of its group's bodies a template is in, "" where the group has only the one."""
    rest = template[len(group) :] if group and template.startswith(group) else ""
    first = next(places("x" + rest), None)
    return first.arm if first is not None and first.construct == "x" else ""


def filled(template: str, like: str) -> str:
    """Return the instance of a template that is seen from an instance of another; what it leaves open stays open.

    >>> filled("each[]/refine.*/fit", "each[3]/refine.2/score[1]"), filled("each[]/fit", "other[3]/use")
    ('each[3]/refine.2/fit', 'each[]/fit')
    """
    shared, rest = "", template
    for given, hole in zip(_PLACE.finditer(like), _PLACE.finditer(template), strict=False):
        if template_of(like[: given.end()]) != template[: hole.end()]:
            break
        shared, rest = like[: given.end()], template[hole.end() :]
    return shared + rest


def elements(address: str) -> Iterator[tuple[str, int]]:
    """Yield the (instance, element) pairs that an address may stand for.

    >>> list(elements("each[3]/train[7]"))
    [('each[3]/train[7]', 0), ('each[3]/train', 7), ('each[]/train[7]', 3)]
    """
    yield address, 0
    found = _ELEMENT.fullmatch(address)
    if found:
        yield found[1], int(found[2])
    for place in re.finditer(r"\[(\d+)\](?!$)", address):
        yield f"{address[: place.start()]}[]{address[place.end() :]}", int(place[1])


def group_of(template: str) -> str:
    """Return the id of the construct that a template is a step of, going by its path alone; "" at the top.

    >>> group_of("outer[]/refine.*/fit"), group_of("route.case/parse"), group_of("clean/load"), group_of("load")
    ('outer[]/refine', 'route', 'clean', '')
    """
    around = template.rpartition("/")[0]
    last = next(reversed(list(places(around + "/"))), None)
    if last is not None and "/" not in around[len(last.construct) + 1 :]:
        return last.construct
    return around


def owner_of(template: str) -> str:
    """Return what a helper step helps, going by its path: the path without its last word.

    >>> owner_of("refine.*.while"), owner_of("route.choice"), owner_of("each[]/output")
    ('refine', 'route', 'each')
    """
    stem, dot, word = template.rpartition(".")
    if not dot or "/" in word:
        return group_of(template)
    return stem.removesuffix(".*")
