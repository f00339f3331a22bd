"""What was made a moment ago, for those who want the same; bounded by its size."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """The newest values by their keys; the oldest go where they are larger together than `most`."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._values: dict[Hashable, tuple[V, int]] = {}

    @property
    def size(self) -> int:
        """How large they are together."""
        return self._size

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still there."""
        found = self._values.get(key)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of that size for a while."""
        if key in self._values:
            self._size -= self._values.pop(key)[1]
        self._values[key] = value, size
        self._size += size
        while self._size > self._most:
            self._size -= self._values.pop(next(iter(self._values)))[1]
