"""The shape of a CSV file (RFC 4180), checked byte by byte before anything is read from it.

Arrow's reader joins `"a"b` to one value, takes an open quote to the end of the file and keeps bytes that are not UTF-8;
here each is a fault with its line and column. Blocks are looked at with numpy, at some 200 MB a second.
"""

import codecs
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from carrara.kernel.errors import Invalid, Issue

_LF, _CR, _QUOTE = 10, 13, 34
Positions = np.ndarray


class _Place(Enum):
    """Where a fault is shown: at its byte, at its record's begin (and the field after the last), or at the quote that
    opened its value."""

    BYTE = auto()
    RECORD = auto()
    COUNT = auto()
    QUOTE = auto()


class _Fault(NamedTuple):
    position: int
    message: str
    place: _Place = _Place.BYTE


def scan(blocks: Iterable[bytes], names: Sequence[str], *, delimiter: str, max_record_bytes: int) -> int:
    """The number of records, the header among them, if every one has a field for each name.

    `blocks` are the bytes of the file without a byte order mark. `Invalid(malformed_csv)` for the first fault.
    Empty lines are skipped, unless there is one column: then each is a null.
    """
    scanner = _Scanner(names, delimiter, max_record_bytes)
    scanner.run(blocks)
    return scanner.records


def line_of_record(blocks: Iterable[bytes], names: Sequence[str], *, delimiter: str, record: int) -> int:
    """The line, from 1, on which a record (the header is 0) of a file that `scan` has passed begins."""
    scanner = _Scanner(names, delimiter, 1 << 62, wanted=record)
    scanner.run(blocks)
    return scanner.wanted_line


def malformed(line: int, column: str, message: str, *, code: str = "malformed_csv", **facts: object) -> Invalid:
    """The refusal of a file for a fault at a line and a column, which is a name or a number."""
    where = f"line {line}, column {column}"
    issue = Issue(where, message, code=code, facts={"line": line, "column": column, **facts})
    return Invalid(f"{where}: {message}", code=code, issues=[issue], line=line, column=column)


class _Scanner:
    """The state between two blocks: where we are, and what is open."""

    def __init__(self, names: Sequence[str], delimiter: str, max_record_bytes: int, *, wanted: int = -1) -> None:
        self._names, self._delimiter, self._max_record_bytes = names, ord(delimiter), max_record_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._wanted, self.wanted_line, self.records = wanted, 0, 0
        self._line = self._record_line = 1
        self._delimiters = self._record_bytes = 0  # of the record that is open
        self._previous = _LF
        self._is_quoted = False
        self._opened = (1, 0)  # line and field of the quote that last opened a value

    def run(self, blocks: Iterable[bytes]) -> None:
        pending = b""
        for block in blocks:
            if pending and block:
                self._feed(pending, block[0])
            pending = block or pending
        if pending:
            self._feed(pending, _LF)
        self._finish()

    def _feed(self, block: bytes, following: int) -> None:
        self._block = np.frombuffer(block, dtype=np.uint8)
        self._following = following
        self._quotes = np.flatnonzero(self._block == _QUOTE)
        self._breaks = self._line_breaks()
        self._fields = self._unquoted(np.flatnonzero(self._block == self._delimiter))
        self._ends = self._unquoted(self._breaks)
        self._starts = np.concatenate(([0], self._ends + 1))
        is_record, faults = self._judge_records()
        faults += [*self._nul(), *self._bytes_not_utf8(block), *self._bad_quotes()]
        if faults:
            raise self._refusal(min(faults, key=lambda fault: fault.position))
        self._advance(is_record)

    def _line_breaks(self) -> Positions:
        returns = np.flatnonzero(self._block == _CR)
        alone = returns[self._after(returns) != _LF]
        feeds = np.flatnonzero(self._block == _LF)
        return np.sort(np.concatenate((feeds, alone))) if alone.size else feeds

    def _unquoted(self, positions: Positions) -> Positions:
        if not self._quotes.size:
            return positions[:0] if self._is_quoted else positions
        opened = np.searchsorted(self._quotes, positions) + self._is_quoted
        outside: Positions = positions[opened % 2 == 0]
        return outside

    def _before(self, positions: Positions) -> np.ndarray:
        found: np.ndarray = np.where(positions > 0, self._block[positions - 1], self._previous)
        return found

    def _after(self, positions: Positions) -> np.ndarray:
        last = self._block.size - 1
        found: np.ndarray = np.where(positions < last, self._block[np.minimum(positions + 1, last)], self._following)
        return found

    def _judge_records(self) -> tuple[np.ndarray, list[_Fault]]:
        """Which of the records that end here count, and the first with the wrong number of fields, or of bytes."""
        ends, starts = self._ends, self._starts
        counts = np.diff(np.searchsorted(self._fields, ends), prepend=0) + 1
        lengths = ends - starts[:-1]
        if ends.size:
            counts[0] += self._delimiters
            lengths[0] += self._record_bytes
            lengths -= (self._block[ends] == _LF) & (self._before(ends) == _CR) & (lengths > 0)
        is_record = lengths > 0 if len(self._names) > 1 else np.ones(ends.size, dtype=bool)
        wrong = np.flatnonzero(is_record & (counts != len(self._names)))
        long = np.flatnonzero(np.append(lengths, self._open_bytes()) > self._max_record_bytes)
        faults = [_Fault(int(starts[long[0]]), self._too_long(), _Place.RECORD)] if long.size else []
        if wrong.size:
            faults.append(_Fault(int(ends[wrong[0]]), self._wrong_count(int(counts[wrong[0]])), _Place.COUNT))
        return is_record, faults

    def _open_bytes(self) -> int:
        carried = 0 if self._ends.size else self._record_bytes
        return int(self._block.size - self._starts[-1]) + carried

    def _nul(self) -> Iterator[_Fault]:
        found = np.flatnonzero(self._block == 0)
        if found.size:
            yield _Fault(int(found[0]), "a NUL byte; is this a text file?")

    def _bytes_not_utf8(self, block: bytes) -> Iterator[_Fault]:
        pending = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(block)
        except UnicodeDecodeError as error:
            yield _Fault(max(error.start - pending, 0), _not_utf8(error))

    def _bad_quotes(self) -> Iterator[_Fault]:
        quotes = self._quotes
        closes = (np.arange(quotes.size) + self._is_quoted) % 2 == 1
        opening, closing = quotes[~closes], quotes[closes]
        edges = np.array([self._delimiter, _LF, _CR, _QUOTE])
        inside = opening[~np.isin(self._before(opening), edges)]
        if inside.size:
            how = 'a quote inside a value; write the value in quotes and double the quote: "a ""b"" c"'
            yield _Fault(int(inside[0]), how)
        trailing = closing[~np.isin(self._after(closing), edges)]
        if trailing.size:
            yield _Fault(int(trailing[0]), self._text_after(int(trailing[0])), _Place.QUOTE)

    def _text_after(self, position: int) -> str:
        line, _ = self._opened_at(position)
        closing_line = self._line_at(position)
        closed = "" if closing_line == line else f" on line {closing_line}"
        return (
            f"the quoted value goes on after its closing quote{closed}; double a quote inside a value, and look for a"
            " missing closing quote before it"
        )

    def _opened_at(self, position: int) -> tuple[int, int]:
        """Line and field of the quote that opened the value which is quoted just before `position`."""
        index = int(np.searchsorted(self._quotes, position)) - 1
        while index >= 1 and self._quotes[index - 1] == self._quotes[index] - 1:
            index -= 2  # a doubled quote
        if index < 0 or (self._quotes[index] == 0 and self._previous == _QUOTE):
            return self._opened  # in an earlier block
        opened = int(self._quotes[index])
        return self._line_at(opened), self._field_at(opened)

    def _line_at(self, position: int) -> int:
        return self._line + int(np.searchsorted(self._breaks, position))

    def _record_of(self, position: int) -> int:
        return int(np.searchsorted(self._ends, position))

    def _field_at(self, position: int) -> int:
        record = self._record_of(position)
        before = np.searchsorted(self._fields, [self._starts[record], position])
        return int(before[1] - before[0]) + (self._delimiters if record == 0 else 0)

    def _record_line_at(self, record: int) -> int:
        return self._record_line if record == 0 else self._line_at(int(self._starts[record]))

    def _refusal(self, fault: _Fault) -> Invalid:
        line, field = self._line_at(fault.position), self._field_at(fault.position)
        if fault.place is _Place.QUOTE:
            line, field = self._opened_at(fault.position)
        elif fault.place is not _Place.BYTE:
            line = self._record_line_at(self._record_of(fault.position))
        if fault.place is _Place.COUNT:
            field = min(field + 1, len(self._names))
        return malformed(line, self._name(field), fault.message)

    def _name(self, field: int) -> str:
        return repr(self._names[field]) if field < len(self._names) else str(field + 1)

    def _wrong_count(self, found: int) -> str:
        wanted = len(self._names)
        what = "the line ends before this column" if found < wanted else "there is no such column in the header"
        return f"expected {wanted} fields, found {found}: {what}"

    def _too_long(self) -> str:
        return f"the record has more than {self._max_record_bytes} bytes; look for a missing closing quote"

    def _advance(self, is_record: np.ndarray) -> None:
        before, self.records = self.records, self.records + int(is_record.sum())
        if before <= self._wanted < self.records:
            self.wanted_line = self._record_line_at(int(np.flatnonzero(is_record)[self._wanted - before]))
        if self._quotes.size:
            is_quoted = (self._quotes.size + self._is_quoted) % 2 == 1
            self._opened = self._opened_at(self._block.size if is_quoted else int(self._quotes[-1]))
            self._is_quoted = is_quoted
        last = int(self._starts[-1])
        open_bytes = self._open_bytes()
        in_last = int(self._fields.size - np.searchsorted(self._fields, last))
        if self._ends.size:
            self._record_line, self._delimiters = self._line_at(last), in_last
        else:
            self._delimiters += in_last
        self._record_bytes = open_bytes
        self._line += int(self._breaks.size)
        self._previous = int(self._block[-1])

    def _finish(self) -> None:
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise malformed(self._line, self._name(self._delimiters), _not_utf8(error)) from error
        if self._is_quoted:
            line, field = self._opened
            raise malformed(line, self._name(field), "the quote that opens this value is never closed")
        if self._record_bytes > 0:
            if self._delimiters + 1 != len(self._names):
                field = min(self._delimiters + 1, len(self._names))
                raise malformed(self._record_line, self._name(field), self._wrong_count(self._delimiters + 1))
            if self.records == self._wanted:
                self.wanted_line = self._record_line
            self.records += 1


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8 (it may be Latin-1)"
