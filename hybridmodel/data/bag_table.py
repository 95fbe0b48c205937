"""ROS 1 and 2 bags as a Table: numbers of messages as "/topic.field.sub[0]" (extra `ros`).

Stamps are seconds since the bag began, one clock per topic. Text, and arrays of more than 64
elements (images, point clouds), have no columns.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hybridmodel.data.table import Keep, Table, load_extra
from hybridmodel.data.trajectory import Array

_LONGEST = 64  # elements of an array that are a signal each
_HEADER = "header.stamp"


def read(path: Path, time: str | None, keep: Keep) -> Table:
    """Read the messages of topics with a column that is kept.

    Message types that the bag does not define are those of ROS 2 Humble, of ROS 1 Noetic for a
    .bag.
    Raises ValueError where the bag is damaged or is something else.
    """
    highlevel = load_extra("rosbags.highlevel", "ros")
    typesys = load_extra("rosbags.typesys", "ros")
    folder = path.parent if path.suffix == ".db3" else path
    known = typesys.Stores.ROS1_NOETIC if path.suffix == ".bag" else typesys.Stores.ROS2_HUMBLE
    topics: dict[str, _Topic] = {}
    try:
        with highlevel.AnyReader([folder], default_typestore=typesys.get_typestore(known)) as bag:
            origin = bag.start_time
            for connection, nanoseconds, data in bag.messages():
                topic = topics.setdefault(connection.topic, _Topic(connection.topic, keep))
                if topic.wanted:
                    message = bag.deserialize(data, connection.msgtype)
                    topic.append((nanoseconds - origin) * 1e-9, _leaves(message, origin))
    except (highlevel.AnyReaderError, OSError, KeyError) as error:
        raise ValueError(f"{path} is no ROS bag that can be read: {error}") from error
    except Exception as error:
        # rosbags has an error class per format and per stage, and no class above them
        if type(error).__module__.startswith("rosbags"):
            raise ValueError(f"{path} is no ROS bag that can be read: {error}") from error
        raise
    header: list[str] = []
    values: dict[str, Array] = {}
    clocks: dict[str, Array] = {}
    for topic in topics.values():
        columns = {name: np.array(column) for name, column in topic.columns.items()}
        header += columns
        own = columns.get(f"{topic.name}.{_HEADER}") if time == _HEADER else None
        stamps = np.array(topic.stamps) if own is None else own
        kept = {name: column for name, column in columns.items() if keep(name)}
        values |= kept
        clocks |= dict.fromkeys(kept, stamps)
    return Table(str(path), tuple(header), values, clocks, time=time or "")


class _Topic:
    """Columns of one topic as they grow; a leaf that a message lacks is nan."""

    def __init__(self, name: str, keep: Keep) -> None:
        self.name, self.keep, self.wanted = name, keep, True
        self.stamps = array("d")
        self.columns: dict[str, array[float]] = {}

    def append(self, stamp: float, leaves: Iterator[tuple[str, float]]) -> None:
        """One message."""
        count = len(self.stamps)
        self.stamps.append(stamp)
        for path, value in leaves:
            name = f"{self.name}.{path}"
            if name not in self.columns:
                self.columns[name] = array("d", [math.nan]) * count
            self.columns[name].append(value)
        for column in self.columns.values():
            if len(column) == count:
                column.append(math.nan)
        # a topic shows by its first message which columns it has
        if count == 0 and self.columns:
            self.wanted = any(self.keep(name) for name in self.columns)


def _leaves(value: Any, origin: int, path: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a message by their path."""
    if isinstance(value, bool | int | float | np.number | np.bool_):
        yield path, float(value)
    elif isinstance(value, np.ndarray | list | tuple):
        if len(value) <= _LONGEST:
            for i, element in enumerate(value):
                yield from _leaves(element, origin, f"{path}[{i}]")
    elif hasattr(value, "__dataclass_fields__"):
        if hasattr(value, "sec") and hasattr(value, "nanosec"):
            # whole nanoseconds, since seconds of an epoch have too many digits for float64
            yield path, (int(value.sec) * 10**9 + int(value.nanosec) - origin) * 1e-9
            return
        for name in value.__dataclass_fields__:
            if not name.startswith("__"):
                field = getattr(value, name)
                yield from _leaves(field, origin, f"{path}.{name}" if path else name)
