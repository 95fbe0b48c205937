"""Robot files as they should not be: seeded damage to those that ship with PyBullet."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

_ODD = ("", "nan", "inf", "-1", "0", "1e400", "0 0", "0 0 0 0", "x y z", "base", "\0", "💥", "${r}")
_KINDS = (
    "revolute",
    "continuous",
    "prismatic",
    "fixed",
    "floating",
    "planar",
    "spherical",
    "mimic",
)


def mutated(folder: Path, count: int, *, seed: int) -> Iterator[bytes]:
    """`count` damaged files, one or two wounds each."""
    rng = random.Random(seed)
    sources = sorted(path for path in folder.rglob("*.urdf") if path.stat().st_size < 100_000)
    jointed = [path for path in sources if b"<joint" in path.read_bytes()]
    for _ in range(count):
        content = rng.choice(jointed).read_bytes()
        for _ in range(rng.randint(1, 2)):
            content = rng.choice(_WOUNDS)(rng, content)
        yield content


def _in_tree(change: Callable[[random.Random, ET.Element, list[ET.Element]], None]):
    """A wound to the elements of a file that is still XML."""

    def wound(rng: random.Random, content: bytes) -> bytes:
        try:
            root = ET.fromstring(content)
        except (ET.ParseError, ValueError):
            return content
        change(rng, root, list(root.iter()))
        return ET.tostring(root)

    return wound


def _delete(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    parent = rng.choice(elements)
    if len(parent):
        parent.remove(rng.choice(list(parent)))


def _double(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    parent = rng.choice(elements)
    if len(parent):
        parent.append(rng.choice(list(parent)))


def _move(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    if len(root) > 1:
        child = rng.choice(list(root))
        root.remove(child)
        rng.choice([e for e in elements if e not in list(child.iter())]).append(child)


def _attribute(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    element = rng.choice([e for e in elements if e.attrib] or [root])
    if element.attrib:
        name = rng.choice(sorted(element.attrib))
        known = [e.attrib[name] for e in elements if name in e.attrib]
        element.set(name, rng.choice([*_ODD[:-3], rng.choice(known), str(rng.gauss(0, 1e3))]))


def _forget(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    element = rng.choice([e for e in elements if e.attrib] or [root])
    if element.attrib:
        del element.attrib[rng.choice(sorted(element.attrib))]


def _retype(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    joints = [e for e in elements if e.tag == "joint"]
    if joints:
        rng.choice(joints).set("type", rng.choice(_KINDS))


def _rewire(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    ends = [e for e in elements if e.tag in ("parent", "child")]
    links = [e.get("name", "") for e in elements if e.tag == "link"]
    if ends and links:
        rng.choice(ends).set("link", rng.choice(links))


def _rename(rng: random.Random, root: ET.Element, elements: list[ET.Element]) -> None:
    rng.choice(elements).tag = rng.choice(elements).tag


def _cut(rng: random.Random, content: bytes) -> bytes:
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:a] + content[min(b, a + 200) :]


def _end(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _noise(rng: random.Random, content: bytes) -> bytes:
    i = rng.randrange(len(content) + 1)
    return content[:i] + rng.randbytes(rng.randint(1, 30)) + content[i:]


def _text(rng: random.Random, content: bytes) -> bytes:
    i = rng.randrange(len(content) + 1)
    return content[:i] + rng.choice(_ODD).encode() + content[i:]


def _entity(rng: random.Random, content: bytes) -> bytes:
    bomb = b'<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    return bomb + content.replace(b'"1"', b'"&b;"', 1)


_WOUNDS = (
    *map(_in_tree, (_delete, _double, _move, _attribute, _attribute, _forget, _retype, _rewire)),
    _in_tree(_rename),
    _cut,
    _end,
    _noise,
    _text,
    _entity,
)
