#!/usr/bin/env python3
"""Compares an index file with the filesystem that it is of, entry by entry: every block that a
file has, and every name that a walk finds. On an XFS with a reverse map the kernel says which blocks
files have (FS_IOC_GETFSMAP), on one without each file does (XFS_IOC_GETBMAPX), and on ext4 too
(FS_IOC_FIEMAP). Shares no code with what it judges. The filesystem has to stand still meanwhile:
freeze it.

compare-index.py TIDEMARK INDEX MOUNTPOINT

Left out on both sides: blocks of extent maps, metadata, blocks of symbolic links and special
files, and on ext4 blocks of attributes, which an index does not have. Exit status: 0 equal; 1 not.
"""
import fcntl
import json
import os
import re
import stat
import struct
import subprocess
import sys

GETFSMAP, GETBMAPX, FIEMAP = 0xC0C0583B, 0xC0205838, 0xC020660B
SPECIAL, EXTENT_MAP, ATTRIBUTES, UNWRITTEN, LAST = 0x10, 0x4, 0x2, 0x1, 0x20
RECORD = struct.Struct("=IIQQQQ24x")


def reverse_map(point, size):
    """(block, inode, fork, offset) -> unwritten, from the kernel."""
    entries = {}
    fd = os.open(point, os.O_RDONLY)
    device = os.fstat(fd).st_dev
    number = os.minor(device) & 0xFF | os.major(device) << 8 | (os.minor(device) & ~0xFF) << 12
    count = 4096
    low = RECORD.pack(number, 0, 0, 0, 0, 0)
    high = RECORD.pack(number, 0xFFFFFFFF, 2**64 - 1, 2**64 - 1, 2**64 - 1, 0)
    while True:
        buffer = bytearray(struct.pack("=IIII48x", 0, 0, count, 0) + low + high)
        buffer += bytes(count * RECORD.size)
        fcntl.ioctl(fd, GETFSMAP, buffer)
        found = struct.unpack_from("=I", buffer, 12)[0]
        flags = LAST
        for place in range(found):
            record = bytes(buffer[192 + place * RECORD.size:][:RECORD.size])
            _, flags, physical, owner, offset, length = RECORD.unpack(record)
            low = record
            if flags & (SPECIAL | EXTENT_MAP):
                continue
            fork = "attributes" if flags & ATTRIBUTES else "data"
            for n in range(length // size):
                key = (physical // size + n, owner, fork, offset // size + n)
                entries[key] = bool(flags & UNWRITTEN)
        if found < count or flags & LAST:
            os.close(fd)
            return entries


def bmap(fd, attributes):
    """(offset, physical, length, unwritten) of the extents of a fork, in bytes."""
    record, place, count = struct.Struct("=qqqiiiiii"), 0, 1024
    while True:
        # BMV_IF_PREALLOC, _DELALLOC, _NO_HOLES, and _ATTRFORK.
        flags = 0x1C | (1 if attributes else 0)
        buffer = bytearray(record.pack(place, 0, 2**53 - place, count, 0, flags, 0, 0, 0))
        buffer += bytes((count - 1) * record.size)
        try:
            fcntl.ioctl(fd, GETBMAPX, buffer)
        except FileNotFoundError:
            return  # There is no attribute fork.
        entries = record.unpack_from(buffer, 0)[4]
        for n in range(entries):
            offset, block, length, _, _, _, state, _, _ = record.unpack_from(
                buffer, (n + 1) * record.size)
            place = offset + length
            if block >= 0 and not state & 2:
                yield offset * 512, block * 512, length * 512, bool(state & 1)
        if entries < count - 1:
            return


def fiemap(fd, attributes):
    """The same of ext4."""
    if attributes:
        return
    place, count = 0, 1024
    while True:
        buffer = bytearray(struct.pack("=QQIIII", place, 2**64 - 1 - place, 0, 0, count, 0))
        buffer += bytes(56 * count)
        fcntl.ioctl(fd, FIEMAP, buffer)
        entries, flags = struct.unpack_from("=I", buffer, 20)[0], 1
        for n in range(entries):
            offset, physical, length, flags = struct.unpack_from("=QQQ16xI", buffer, 32 + 56 * n)
            place = offset + length
            if not flags & 0x30E:
                yield offset, physical, length, bool(flags & 0x800)
        if entries == 0 or flags & 1:
            return


def maps_of_files(places, size, extents):
    """(block, inode, fork, offset) -> unwritten, from each file and directory."""
    entries = {}
    for inode, place in places.items():
        fd = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOATIME)
        for fork in ("data", "attributes"):
            for offset, physical, length, unwritten in extents(fd, fork == "attributes"):
                for n in range(length // size):
                    entries[(physical // size + n, inode, fork, offset // size + n)] = unwritten
        os.close(fd)
    return entries


def kind_of(point):
    device = os.stat(point).st_dev
    with open("/proc/self/mountinfo") as lines:
        for line in lines:
            words = line.split()
            if words[2] == f"{os.major(device)}:{os.minor(device)}":
                return words[words.index("-") + 1]


def walk(point):
    """Names as (inode, directory, name), inodes that are neither files nor directories, and a place
    of each that is."""
    names, others = set(), set()
    device = os.lstat(point).st_dev
    places = [os.fsencode(point)]
    files = {os.lstat(point).st_ino: os.fsencode(point)}
    while places:
        place = places.pop()
        directory = os.lstat(place).st_ino
        with os.scandir(place) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                names.add((status.st_ino, directory, entry.name))
                if stat.S_ISDIR(status.st_mode) and status.st_dev == device:
                    places.append(entry.path)
                elif not stat.S_ISREG(status.st_mode):
                    others.add(status.st_ino)
                    continue
                files[status.st_ino] = entry.path
    return names, others, files


def unescaped(text):
    return re.sub(
        rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), text.encode("utf-8"))


def dump(tidemark, index, table):
    process = subprocess.Popen([tidemark, "dump", index, table], stdout=subprocess.PIPE)
    for line in process.stdout:
        yield json.loads(line)
    if process.wait() != 0:
        sys.exit(f"dump of {table} ended with {process.returncode}")


def tell(what, entries):
    for entry in sorted(entries, key=str)[:10]:
        print(f"  {what}: {entry}")
    return len(entries)


def main(tidemark, index, point):
    size = os.statvfs(point).f_bsize
    names, others, files = walk(point)
    if kind_of(point) == "xfs":
        blocks = reverse_map(point, size) or maps_of_files(files, size, bmap)
    else:
        blocks = maps_of_files(files, size, fiemap)
    blocks = {k: v for k, v in blocks.items() if k[1] not in others}
    indexed = {}
    for record in dump(tidemark, index, "rmap"):
        key = record["key"]
        if key["inode"] in others:
            continue
        for n in range(record["value"]["length"]):
            entry = (key["block"] + n, key["inode"], key["fork"], key["offset"] + n)
            indexed[entry] = record["value"]["state"] == "unwritten"
    listed = {
        (r["key"]["inode"], r["key"]["directory"], unescaped(r["key"]["name"]))
        for r in dump(tidemark, index, "parents")
    }
    wrong = tell("block missing", blocks.keys() - indexed.keys())
    wrong += tell("block stray", indexed.keys() - blocks.keys())
    wrong += tell("state wrong", {k for k in blocks.keys() & indexed.keys() if blocks[k] != indexed[k]})
    wrong += tell("name missing", names - listed)
    wrong += tell("name stray", listed - names)
    print(f"{len(blocks)} blocks and {len(names)} names compared: {wrong} differences")
    sys.exit(1 if wrong else 0)


main(*sys.argv[1:])
