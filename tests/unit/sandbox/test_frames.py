"""Frames: what goes in comes out, and what cannot be a frame is refused before it costs anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.sandbox.frames import FrameError, FrameReader, decode_message, encode, encode_message


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 64))
def test_frames_survive_any_cutting(payloads: list[bytes], cut: int) -> None:
    stream = b"".join(encode(payload) for payload in payloads)
    reader = FrameReader(1000)

    received = [payload for start in range(0, len(stream), cut) for payload in reader.feed(stream[start : start + cut])]

    assert received == payloads
    reader.finish()


@pytest.mark.parametrize("length", [101, 1 << 30, 0xFFFF_FFFF])
def test_a_length_over_the_limit_is_refused_at_its_header(length: int) -> None:
    reader = FrameReader(100)

    with pytest.raises(FrameError, match=f"{length} bytes was announced; at most 100") as refused:
        reader.feed(length.to_bytes(4, "big"))

    assert refused.value.code == "frame_too_large"
    assert refused.value.facts == {"length": length, "limit": 100}


def test_a_length_at_the_limit_is_taken() -> None:
    assert FrameReader(100).feed(encode(b"x" * 100)) == [b"x" * 100]


def test_after_a_bad_frame_nothing_more_is_read() -> None:
    reader = FrameReader(100)
    with pytest.raises(FrameError):
        reader.feed(b"\xff\xff\xff\xff")

    with pytest.raises(FrameError):
        reader.feed(encode(b"fine"))


def test_frames_before_a_bad_one_are_not_taken_for_whole() -> None:
    with pytest.raises(FrameError):
        FrameReader(100).feed(encode(b"fine") + b"\xff\xff\xff\xff")


@pytest.mark.parametrize("part", [b"\0", b"\0\0\0\5", b"\0\0\0\5abc"])
def test_an_end_inside_a_frame_is_an_error(part: bytes) -> None:
    reader = FrameReader(100)
    assert reader.feed(part) == []
    assert not reader.is_between_frames

    with pytest.raises(FrameError, match="ended inside a frame"):
        reader.finish()


def test_an_end_between_frames_is_none() -> None:
    reader = FrameReader(100)
    reader.feed(encode(b"whole"))

    assert reader.is_between_frames
    reader.finish()


def test_messages_go_there_and_back() -> None:
    message = {"step": 3, "loss": 0.5, "data": b"\0\1", "name": "größe", "none": None, "list": [1, [2]]}

    (payload,) = FrameReader().feed(encode_message(message))

    assert decode_message(payload) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x93\1\2\3",
        b"\x81\1\2",
        b"\x81\xa1\xff\1",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1a" + b"\x91" * 100_000 + b"\1",
        b"\x80 trailing",
    ],
    ids=["empty", "unused code", "a list", "number as key", "bad text", "4 G entries", "deep", "trailing"],
)
def test_what_is_no_message_is_an_error(payload: bytes) -> None:
    with pytest.raises(FrameError, match="no msgpack map"):
        decode_message(payload)
