#!/usr/bin/env python3
"""Works in a directory until it is killed: creates, renames (over others, exchanging, with
whiteouts), links, unlinks, writes, truncates, punches, collapses, clones, changes attributes,
makes files without a name.

load.py DIRECTORY SEED
"""
import ctypes
import fcntl
import os
import random
import sys

libc = ctypes.CDLL(None, use_errno=True)
FICLONE = 0x40049409


def fallocate(fd, mode, offset, length):
    libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length))


def rename2(a, b, flags):
    libc.renameat2(-100, a.encode(), -100, b.encode(), flags)


class Load:
    def __init__(self, place, seed):
        self.random = random.Random(seed)
        self.place = place
        self.directories = [place]
        for n in range(6):
            path = os.path.join(place, f"load-{seed}-{n}")
            os.makedirs(path, exist_ok=True)
            self.directories.append(path)

    def name(self):
        return os.path.join(
            self.random.choice(self.directories[1:]), f"name-{self.random.randrange(60)}")

    def step(self):
        r = self.random
        name, other = self.name(), self.name()
        kind = r.randrange(16)
        if kind < 4:
            with open(name, "wb") as f:
                f.write(b"x" * r.choice([0, 10, 5000, 70000]))
        elif kind == 4:
            os.rename(name, other)
        elif kind == 5:
            rename2(name, other, r.choice([1, 2, 4]))
        elif kind == 6:
            os.link(name, other)
        elif kind < 9:
            os.unlink(name)
        elif kind == 9:
            fd = os.open(name, os.O_RDWR)
            fallocate(fd, r.choice([0, 1, 3, 16, 8, 32]), 4096 * r.randrange(12), 4096 * r.randrange(1, 8))
            os.close(fd)
        elif kind == 10:
            os.truncate(name, r.randrange(100000))
        elif kind == 11:
            with open(name, "rb") as a, open(other, "wb") as b:
                fcntl.ioctl(b.fileno(), FICLONE, a.fileno())
        elif kind == 12:
            os.setxattr(name, "user.a", b"v" * r.randrange(9000))
        elif kind == 13:
            os.mkdir(other + "-d")
        elif kind == 14:
            os.rmdir(other + "-d")
        else:
            fd = os.open(os.path.dirname(name), os.O_TMPFILE | os.O_RDWR)
            os.write(fd, b"y" * 8192)
            if r.random() < .5:
                os.link(f"/proc/self/fd/{fd}", other, follow_symlinks=True)
            os.close(fd)
        if r.random() < .02:
            fd = os.open(name, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)


def main(place, seed):
    load = Load(place, int(seed))
    print("ready", flush=True)
    while True:
        try:
            load.step()
        except OSError:
            pass


main(*sys.argv[1:])
