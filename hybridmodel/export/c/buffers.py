"""Room on the stack: which part of one array each value has, and for how long."""

from __future__ import annotations


class Buffers:
    """Parts of one array; a part that is given back is used again."""

    def __init__(self) -> None:
        self.size = 0
        self._free: list[tuple[int, int]] = []  # (start, size), by start

    def take(self, size: int) -> int:
        """The start of a part: the tightest free one that fits, or new room at the end."""
        fitting = [hole for hole in self._free if hole[1] >= size]
        if not fitting:
            self.size += size
            return self.size - size
        start, room = min(fitting, key=lambda hole: hole[1])
        self._free.remove((start, room))
        if room > size:
            self._free.append((start + size, room - size))
        return start

    def give_back(self, start: int, size: int) -> None:
        """Free a part; neighbouring free parts become one."""
        merged: list[tuple[int, int]] = []
        for hole in sorted([*self._free, (start, size)]):
            if merged and sum(merged[-1]) == hole[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + hole[1])
            else:
                merged.append(hole)
        self._free = merged
