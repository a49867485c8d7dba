#!/usr/bin/env python3
"""Compares an index file with the XFS that it is of, entry by entry: every block that the kernel's
reverse map gives to a file (FS_IOC_GETFSMAP), and every name that a walk finds. Shares no code with
what it judges. The filesystem has to stand still meanwhile: freeze it.

compare-index.py TIDEMARK INDEX MOUNTPOINT

Left out on both sides: blocks of extent maps, metadata, and blocks of symbolic links and special
files, which an index does not have. Exit status: 0 equal; 1 not.
"""
import fcntl
import json
import os
import re
import stat
import struct
import subprocess
import sys

GETFSMAP = 0xC0C0583B
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


def walk(point):
    """Names as (inode, directory, name), and inodes that are neither files nor directories."""
    names, others = set(), set()
    device = os.lstat(point).st_dev
    places = [os.fsencode(point)]
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
    return names, others


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
    names, others = walk(point)
    blocks = {k: v for k, v in reverse_map(point, size).items() if k[1] not in others}
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
