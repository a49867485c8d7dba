#!/usr/bin/env python3
"""Every name below a directory with type, size and checksum of the contents, a line each, sorted.

inventory.py DIRECTORY [NAME-AT-ITS-TOP-THAT-IS-LEFT-OUT]
"""
import hashlib
import os
import stat
import sys

root, left_out = os.fsencode(sys.argv[1]), [os.fsencode(name) for name in sys.argv[2:]]
lines = []
for place, directories, files in os.walk(root):
    if place == root:
        directories[:] = [name for name in directories if name not in left_out]
    for name in directories + files:
        path = os.path.join(place, name)
        shown = os.path.relpath(path, root)
        try:
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    what = f"{status.st_size} {hashlib.sha256(file.read()).hexdigest()}"
            elif kind == stat.S_IFLNK:
                what = repr(os.readlink(path))
            else:
                what = "-"
            lines.append(f"{shown!r} {kind:o} {what}")
        except OSError as error:
            lines.append(f"{shown!r} unreadable {error.errno}")
print("\n".join(sorted(lines)))
