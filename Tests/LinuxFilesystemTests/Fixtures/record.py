#!/usr/bin/env python3
"""Records what a kernel answers, byte for byte, into this directory: what RecordedTests parses.

To be run as root: record.py XFS EXT4 TRACEFS, with the mount points of an XFS with parent
pointers and of an ext4 (both scratch: files are made on them), and of tracefs.
"""
import fcntl
import os
import struct
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))


def keep(name, data):
    with open(os.path.join(here, name), "wb") as f:
        f.write(data)


def ask(fd, request, buffer):
    fcntl.ioctl(fd, request, buffer)
    return bytes(buffer)


def number(direction, letter, code, size):
    return direction << 30 | size << 16 | ord(letter) << 8 | code


def main(xfs, ext4, tracing):
    root = os.open(xfs, os.O_RDONLY)
    work = os.path.join(xfs, "recorded")
    os.mkdir(work)
    path = os.path.join(work, "sparse")
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    for block in range(0, 20, 2):
        os.pwrite(file, b"x" * 4096, block * 4096)
    os.posix_fallocate(file, 1 << 20, 65536)
    for n in range(60):
        os.setxattr(file, f"user.attribute{n}", b"v" * 200)
    os.link(path, os.path.join(work, "second name"))
    os.fsync(file)
    os.pwrite(file, b"y" * 4096, 4 << 20)       # Its blocks are not there yet.

    keep("geometry.bin", ask(root, number(2, "X", 126, 256), bytearray(256)))
    bulk = bytearray(64 + 16 * 192)
    struct.pack_into("=QIII", bulk, 0, 0, 4, 16, 0)
    keep("bulkstat.bin", ask(root, number(2, "X", 127, 64), bulk))
    info = os.fstat(file)
    device = info.st_dev
    code = os.minor(device) & 0xff | os.major(device) << 8 | (os.minor(device) & ~0xff) << 12
    space = bytearray(192 + 48 * 64)
    struct.pack_into("=I", space, 8, 48)
    struct.pack_into("=I", space, 64, code)
    struct.pack_into("=IIQQQ", space, 128, code, 0xffffffff, 2**64 - 1, 2**64 - 1, 2**64 - 1)
    keep("fsmap.bin", ask(root, number(3, "X", 59, 192), space))
    for name, flags in (("bmap-data.bin", 0x1c), ("bmap-attributes.bin", 0x1d)):
        extents = bytearray(33 * 48)
        struct.pack_into("=qqqiii", extents, 0, 0, 0, -1, 33, 0, flags)
        keep(name, ask(file, number(3, "X", 56, 32), extents))
    names = bytearray(1024)
    import ctypes
    target = (ctypes.c_char * 1024).from_buffer(names)
    parents = bytearray(40)
    struct.pack_into("=I", parents, 20, 1024)
    struct.pack_into("=Q", parents, 32, ctypes.addressof(target))
    ask(file, number(3, "X", 62, 40), parents)
    keep("parents.bin", bytes(names))
    del target
    directory = os.open(xfs, os.O_RDONLY)
    buffer = ctypes.create_string_buffer(4096)
    size = ctypes.CDLL(None).syscall(217, directory, buffer, 4096)
    keep("getdents.bin", buffer.raw[:size])

    fragments = os.open(os.path.join(ext4, "sparse"), os.O_RDWR | os.O_CREAT)
    for block in range(0, 40, 2):
        os.pwrite(fragments, b"x" * 4096, block * 4096)
    os.posix_fallocate(fragments, 1 << 20, 65536)
    os.fsync(fragments)
    fiemap = bytearray(32 + 32 * 56)
    struct.pack_into("=QQIIII", fiemap, 0, 0, 2**64 - 1, 0, 0, 32, 0)
    keep("fiemap.bin", ask(fragments, number(3, "f", 11, 32), fiemap))

    trace(xfs, ext4, tracing)


def trace(xfs, ext4, tracing):
    instance = os.path.join(tracing, "instances", "recording")
    os.mkdir(instance)
    events = ["ftrace/print"]
    events += [f"xfs/xfs_rmap_{k}_done" for k in ("map", "unmap", "convert")]
    events += [f"xfs/xfs_dir2_{f}_{o}" for f in ("sf", "block", "leaf", "node")
               for o in ("addname", "removename", "replace")]
    events += ["ext4/ext4_allocate_blocks", "ext4/ext4_free_blocks"]
    text = "header_page\n" + open(os.path.join(tracing, "events/header_page")).read() + "\f"
    for event in events:
        text += event.split("/")[1] + "\n"
        text += open(os.path.join(tracing, "events", event, "format")).read() + "\f"
    keep("formats.txt", text.encode())

    def put(path, value):
        with open(os.path.join(instance, path), "w") as f:
            f.write(value)
    put("trace_clock", "mono")
    put("options/overwrite", "0")
    os.sched_setaffinity(0, {0})
    for place in (xfs, ext4):
        device = os.stat(place).st_dev
        for event in events[1:]:
            if event.startswith("ext4") == (place == ext4):
                put(f"events/{event}/filter", f"dev == {os.major(device) << 20 | os.minor(device)}")
    for event in events[1:]:
        put(f"events/{event}/enable", "1")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    put("trace_marker", "tidemark first")
    for place in (xfs, ext4):
        work = os.path.join(place, "traced")
        os.mkdir(work)
        for n in range(40):
            with open(os.path.join(work, f"file-{n:03}"), "w") as f:
                f.write("x" * 5000)
        fd = os.open(os.path.join(work, "unwritten"), os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(fd, 0, 1 << 20)
        os.pwrite(fd, b"x" * 4096, 65536)
        os.fsync(fd)
        os.close(fd)
        os.sync()
        os.rename(os.path.join(work, "file-001"), os.path.join(work, "file-002"))
        os.rename(os.path.join(work, "file-003"), os.path.join(work, "renamed"))
        for n in range(10, 40):
            os.unlink(os.path.join(work, f"file-{n:03}"))
    time.sleep(1)
    put("trace_marker", "tidemark last")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    pages = b""
    fd = os.open(os.path.join(instance, "per_cpu/cpu0/trace_pipe_raw"), os.O_RDONLY | os.O_NONBLOCK)
    while True:
        try:
            page = os.read(fd, 4096)
        except BlockingIOError:
            break
        if not page:
            break
        pages += page.ljust(4096, b"\0")
    os.close(fd)
    keep("pages.bin", pages)
    keep("stats.txt", open(os.path.join(instance, "per_cpu/cpu0/stats")).read().encode())
    keep("bounds.txt", f"{before} {after}\n".encode())
    put("events/enable", "0")
    with open(os.path.join(instance, "trace"), "w"):
        pass
    os.rmdir(instance)


main(*sys.argv[1:])
