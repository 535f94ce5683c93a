"""Writes compound files (OLE), which Outlook and the old Office save, as far as tests need them."""

import struct

SECTOR = 512
MINI = 64
END, FAT, FREE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def compound_file(streams: dict[str, bytes]) -> bytes:
    """A compound file with small streams below its root: header, FAT, directory, mini FAT, mini stream."""
    minis, starts = b"", {}
    mini_fat: list[int] = []
    for name, content in streams.items():
        count = max(1, -(-len(content) // MINI))
        starts[name] = len(mini_fat)
        mini_fat += [*range(len(mini_fat) + 1, len(mini_fat) + count), END]
        minis += content.ljust(count * MINI, b"\0")
    directory = _entry("Root Entry", 5, child=1, start=0, size=len(minis))
    # each stream is the right neighbour of the one before: names are in order of length, then of letters
    names = sorted(streams, key=lambda name: (len(name), name.upper()))
    for place, name in enumerate(names, start=1):
        right = place + 1 if place < len(names) else FREE
        directory += _entry(name, 2, right=right, start=starts[name], size=len(streams[name]))
    directory = directory.ljust(-(-len(directory) // SECTOR) * SECTOR, b"\0")
    packed = struct.pack(f"<{len(mini_fat)}I", *mini_fat).ljust(SECTOR, b"\xff")
    minis = minis.ljust(-(-len(minis) // SECTOR) * SECTOR, b"\0")
    directory_sectors, mini_sectors = len(directory) // SECTOR, len(minis) // SECTOR
    first_mini_fat = 1 + directory_sectors
    first_mini = first_mini_fat + 1
    directory = directory[:116] + struct.pack("<I", first_mini) + directory[120:]
    fat = [FAT, *_chain(1, directory_sectors), END, *_chain(first_mini, mini_sectors)]
    fat += [FREE] * (SECTOR // 4 - len(fat))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, first_mini_fat, 1, END, 0) + struct.pack("<109I", 0, *[FREE] * 108)
    return header + struct.pack(f"<{len(fat)}I", *fat) + directory + packed + minis


def _chain(first: int, count: int) -> list[int]:
    return [*range(first + 1, first + count), END]


def _entry(name: str, kind: int, *, child: int = FREE, right: int = FREE, start: int, size: int) -> bytes:
    wide = name.encode("utf-16-le") + b"\0\0"
    entry = wide.ljust(64, b"\0") + struct.pack("<HBB3I", len(wide), kind, 1, FREE, right, child)
    return (entry + bytes(36) + struct.pack("<IQ", start, size)).ljust(128, b"\0")
