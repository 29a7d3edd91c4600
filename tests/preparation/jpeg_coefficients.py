"""Tables and coefficients of baseline JPEG files, read without any of the libraries under test."""

from dataclasses import dataclass

import numpy as np


@dataclass
class JpegCoefficients:
    """
    What a baseline JPEG file stores.

    Attributes:
        width, height: in pixels.
        factors: `(across, down)` of each component.
        tables: `(64,)` quantisation table of each component, in the file's zigzag order.
        blocks: `(rows, columns, 64)` quantised coefficients of each component in zigzag order, padded to whole MCUs.
    """

    width: int
    height: int
    factors: list[tuple[int, int]]
    tables: list[np.ndarray]
    blocks: list[np.ndarray]


class _Bits:
    """Bits of one entropy-coded segment between restart markers."""

    def __init__(self, data: bytes):
        self.data, self.position = data.replace(b"\xff\x00", b"\xff"), 0

    def take(self, count: int) -> int:
        first, self.position = self.position // 8, self.position + count
        last = -(-self.position // 8)
        shift = 8 * last - self.position
        return (int.from_bytes(self.data[first:last], "big") >> shift) & ((1 << count) - 1)

    def symbol(self, codes: dict[tuple[int, int], int]) -> int:
        code = 0
        for length in range(1, 17):
            code = code << 1 | self.take(1)
            if (length, code) in codes:
                return codes[length, code]
        raise ValueError("no such Huffman code")

    def number(self, size: int) -> int:
        if not size:
            return 0
        value = self.take(size)
        return value if value >> (size - 1) else value - (1 << size) + 1


def read_coefficients(data: bytes) -> JpegCoefficients:
    """The coefficients of a baseline JPEG file with one scan."""
    tables, codes, interval, position = {}, {}, 0, 2
    while True:
        assert data[position] == 0xFF, "a marker is expected"
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
        position += 2 + length
        if marker == 0xDB:
            while segment:
                size = 128 if segment[0] >> 4 else 64
                tables[segment[0] & 15] = np.frombuffer(segment[1 : 1 + size], ">u2" if size == 128 else "u1").astype(
                    int
                )
                segment = segment[1 + size :]
        elif marker == 0xC4:
            while segment:
                counts, count = segment[1:17], sum(segment[1:17])
                codes[segment[0]] = _codes(counts, segment[17 : 17 + count])
                segment = segment[17 + count :]
        elif marker == 0xDD:
            interval = int.from_bytes(segment, "big")
        elif marker in (0xC0, 0xC1):
            height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            parts = [segment[6 + 3 * index : 9 + 3 * index] for index in range(segment[5])]
        elif marker == 0xDA:
            assert segment[0] == len(parts), "several scans"
            chosen = [segment[2 + 2 * index] for index in range(segment[0])]
            break
        else:
            assert marker not in range(0xC2, 0xD0), "not a baseline file"
    factors = [divmod(part[1], 16) for part in parts] if len(parts) > 1 else [(1, 1)]
    across, down = (8 * max(factor) for factor in zip(*factors, strict=True))
    columns, rows = -(-width // across), -(-height // down)
    blocks = [np.zeros((rows * v, columns * h, 64), int) for h, v in factors]
    segments = _segments(data[position:])
    bits, previous = _Bits(next(segments)), [0] * len(parts)
    for index in range(rows * columns):
        if interval and index and index % interval == 0:
            bits, previous = _Bits(next(segments)), [0] * len(parts)
        row, column = divmod(index, columns)
        for component, (h, v) in enumerate(factors):
            of_dc, of_ac = codes[chosen[component] >> 4], codes[0x10 | chosen[component] & 15]
            for y in range(v):
                for x in range(h):
                    block = blocks[component][row * v + y, column * h + x]
                    previous[component] += bits.number(bits.symbol(of_dc))
                    block[0] = previous[component]
                    _read_ac(bits, of_ac, block)
    return JpegCoefficients(width, height, factors, [tables[part[2]] for part in parts], blocks)


def _read_ac(bits: _Bits, codes: dict, block: np.ndarray) -> None:
    place = 1
    while place < 64:
        run, size = divmod(bits.symbol(codes), 16)
        if not size and run != 15:
            return
        place += run
        if size:
            block[place] = bits.number(size)
        place += 1


def _codes(counts: bytes, symbols: bytes) -> dict[tuple[int, int], int]:
    codes, code, place = {}, 0, 0
    for length, count in enumerate(counts, start=1):
        for _ in range(count):
            codes[length, code] = symbols[place]
            code, place = code + 1, place + 1
        code <<= 1
    return codes


def _segments(data: bytes):
    start = position = 0
    while True:
        position = data.index(b"\xff", position)
        marker = data[position + 1]
        if marker and not 0xD0 <= marker <= 0xD7:
            yield data[start:position]
            return
        if marker:
            yield data[start:position]
            start = position + 2
        position += 2
