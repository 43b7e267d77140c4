"""The profile of a column of texts, from its values in pieces: the most frequent ones and how many there are."""

from typing import Any

import pyarrow as pa

from carrara.contracts.datasets import Category
from carrara.datasets.distinct import RELATIVE_ERROR, DistinctCount

TOP = 50
MAX_CATEGORIES = 200
MAX_CATEGORY_CHARACTERS = 256
KEPT_TEXTS = 65_536
_KEPT_CHARACTERS = 32 << 20


class TextCounts:
    """Counts texts exactly while at most `kept_texts` different ones were seen.

    Beyond, the rarer half is dropped and may come back: a count is then too low by at most the largest count dropped.
    """

    def __init__(self, kept_texts: int = KEPT_TEXTS) -> None:
        self._kept_texts = kept_texts
        self._counts: dict[str, int] = {}
        self._characters = self._rows = self._error = 0
        self._distinct: DistinctCount | None = None

    def see(self, values: pa.Array) -> None:
        """The next texts, without nulls."""
        counted = values.value_counts()
        texts = counted.field("values").to_pylist()
        for text, count in zip(texts, counted.field("counts").to_pylist(), strict=True):
            if text not in self._counts:
                self._characters += len(text)
            self._counts[text] = self._counts.get(text, 0) + count
        self._rows += len(values)
        if self._distinct is not None:
            self._distinct.see_texts(texts)
        if len(self._counts) > self._kept_texts or self._characters > _KEPT_CHARACTERS:
            self._drop_rare()

    def categories(self) -> list[str] | None:
        """All the values, sorted, if they are few and short."""
        are_few = self._distinct is None and len(self._counts) <= MAX_CATEGORIES
        if not are_few or any(len(text) > MAX_CATEGORY_CHARACTERS for text in self._counts):
            return None
        return sorted(self._counts)

    def fields(self) -> dict[str, Any]:
        """The fields of `ColumnProfile` for texts."""
        top = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]
        is_exact = self._distinct is None
        distinct = len(self._counts) if self._distinct is None else self._distinct.count
        is_distinct_exact = self._distinct is None or self._distinct.is_exact
        return {
            "distinct": distinct,
            "distinct_is_exact": is_distinct_exact,
            "distinct_error": None if is_distinct_exact else RELATIVE_ERROR,
            "top": [Category(value=_shown(text), count=count) for text, count in top],
            "other_rows": self._rows - sum(count for _, count in top),
            "top_is_exact": is_exact,
            "top_error": None if is_exact else self._error,
        }

    def _drop_rare(self) -> None:
        if self._distinct is None:
            self._distinct = DistinctCount()
            self._distinct.see_texts(self._counts)
        by_count = sorted(self._counts.items(), key=lambda item: -item[1])
        self._counts, self._characters = {}, 0
        for text, count in by_count:
            if len(self._counts) >= self._kept_texts // 2 or self._characters + len(text) > _KEPT_CHARACTERS // 2:
                self._error = max(self._error, count)
            else:
                self._counts[text] = count
                self._characters += len(text)


def _shown(text: str) -> str:
    return text if len(text) <= MAX_CATEGORY_CHARACTERS else text[: MAX_CATEGORY_CHARACTERS - 3] + "..."
