"""Identifiers. All are UUIDv7 (RFC 9562, section 5.7): they sort by the millisecond they were made in."""

import os
import time
from typing import NewType
from uuid import UUID

ProjectId = NewType("ProjectId", UUID)
UserId = NewType("UserId", UUID)
TokenId = NewType("TokenId", UUID)
DatasetId = NewType("DatasetId", UUID)
SnapshotId = NewType("SnapshotId", UUID)
SplitId = NewType("SplitId", UUID)
JobId = NewType("JobId", UUID)
ModelId = NewType("ModelId", UUID)
VersionId = NewType("VersionId", UUID)
ReleaseId = NewType("ReleaseId", UUID)
EvaluationId = NewType("EvaluationId", UUID)
PolicyId = NewType("PolicyId", UUID)
ApprovalId = NewType("ApprovalId", UUID)
EndpointId = NewType("EndpointId", UUID)
RolloutId = NewType("RolloutId", UUID)


def uuid7() -> UUID:
    """A new UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80
    value |= 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=value)
