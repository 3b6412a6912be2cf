"""A ring without a holder: the same promises as host.ring.Ring, on a bytearray."""

from holdfast.host.ring import Overrun


class FakeRing:
    def __init__(self, size: int = 1 << 20) -> None:
        self.size, self.head, self.start = size, 0, 0
        self.kept = bytearray()  # from ``start`` on
        self.marks: list[int] = []
        self.closed = False

    def put(self, data: bytes) -> None:
        self.kept += data
        self.head += len(data)
        self.drop_before(self.head - self.size)

    def drop_before(self, offset: int) -> None:
        if offset > self.start:
            del self.kept[: offset - self.start]
            self.start = offset

    def read(self, offset: int, most: int) -> bytes:
        if offset < self.start:
            raise Overrun(self.start)
        return bytes(self.kept[offset - self.start : offset - self.start + most])

    def archived(self, upto: int) -> None:
        self.marks.append(upto)
