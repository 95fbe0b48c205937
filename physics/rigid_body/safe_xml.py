"""XML from strangers: elements and attributes, nothing else, in linear time.

A document may not declare a DOCTYPE (so no entities: no expansion bombs, no files read), nor pass
the limits on bytes, elements and depth. Text between elements is dropped: robot files keep all
they say in attributes. Whatever is wrong becomes a ValueError that says where.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

BYTES = 16 * 2**20
ELEMENTS = 200_000
DEPTH = 100
CHARACTERS = 64  # of one number: more digits than any double needs

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Element:
    """One element: `attributes` by name, `children` in order, `line` in the file."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list, repr=False)

    def all(self, tag: str) -> list[Element]:
        """The children of this tag."""
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str) -> Element | None:
        """The child of this tag, None without one; ValueError where there are several."""
        found = self.all(tag)
        if len(found) > 1:
            raise ValueError(
                f"line {found[1].line}: a second <{tag}> in <{self.tag}>, at most one is allowed"
            )
        return found[0] if found else None

    def descendants(self) -> Iterator[Element]:
        """This element and all inside it, in the order of the file."""
        stack: list[Element] = [self]
        while stack:
            element = stack.pop()
            yield element
            stack += element.children[::-1]

    def numbers(self, name: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """The `count` finite numbers of an attribute, `default` where it is missing."""
        text = self.attributes.get(name)
        if text is None:
            return default
        words = text.split(maxsplit=count)
        values = tuple(_number(word) for word in words)
        if len(values) != count or not all(map(math.isfinite, values)):
            few = f"{count} finite numbers" if count > 1 else "a finite number"
            raise ValueError(
                f"line {self.line}: <{self.tag} {name}=…> must be {few}, got {shorten(text)}"
                + (" (expand the file with xacro first)" if "${" in text or "$(" in text else "")
            )
        return values

    def number(self, name: str, default: float) -> float:
        """The finite number of an attribute, `default` where it is missing."""
        return self.numbers(name, 1, (default,))[0]


def shorten(text: str) -> str:
    """repr of a text from a file, cut to a length fit for a message."""
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _number(word: str) -> float:
    # float() alone would also take 1_000, infinity and digits of other scripts
    return float(word) if len(word) <= CHARACTERS and _NUMBER.fullmatch(word) else math.nan


def read(source: str | os.PathLike[str], *, limit: int = BYTES) -> bytes:
    """The bytes of a regular file; FileNotFoundError, or ValueError where it is none or too big."""
    path = Path(source)
    try:
        if path.exists() and not path.is_file():  # a pipe or device would never end
            raise ValueError(f"{path} is not a regular file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    _check_size(len(content), limit)
    return content


def parse(
    text: str | bytes, *, limit: int = BYTES, elements: int = ELEMENTS, depth: int = DEPTH
) -> Element:
    """The root element; ValueError with line and column where the text is not plain XML.

    limit     largest length [bytes]
    elements  largest number of elements
    depth     largest depth of nesting
    """
    _check_size(len(text), limit)
    try:
        content = text.encode() if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"the text is not valid Unicode: {error.reason}") from None
    _check_size(len(content), limit)
    start = len(content) - len(content.lstrip(b" \t\r\n"))
    skipped = content.count(b"\n", 0, start)
    # a str is Unicode already, whatever encoding its declaration states
    parser = expat.ParserCreate("utf-8" if isinstance(text, str) else None)
    open_elements: list[Element] = []
    roots: list[Element] = []
    count = 0

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        line = parser.CurrentLineNumber + skipped
        if count > elements:
            raise ValueError(f"line {line}: more than {elements} elements")
        if len(open_elements) == depth:
            raise ValueError(f"line {line}: elements are nested more than {depth} deep")
        element = Element(tag, attributes, line)
        (open_elements[-1].children if open_elements else roots).append(element)
        open_elements.append(element)

    def end(tag: str) -> None:
        open_elements.pop()

    def refuse(*_: object) -> None:
        line = parser.CurrentLineNumber + skipped
        raise ValueError(f"line {line}: DOCTYPE and entity declarations are refused")

    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content[start:], True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise ValueError(
            f"line {error.lineno + skipped}, column {error.offset}: not XML, {reason}"
        ) from None
    except LookupError as error:  # of the declared encoding
        raise ValueError(f"line {parser.CurrentLineNumber}: not XML, {error}") from None
    return roots[0]


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"the file is longer than the limit of {limit} bytes")
