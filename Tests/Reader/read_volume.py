#!/usr/bin/env python3
"""A reader of volumes, written from Docs/format.md alone: it shares no code with the product.

    read_volume.py [--boot IDENTITY] VOLUME          judges a volume by the rules of the page
    read_volume.py [--boot IDENTITY] --dump VOLUME   prints every record, "TABLE KEY VALUE" in hex

It opens nothing for writing, takes no lock and uses no liblmdb. Exits with 0 where nothing is
wrong, with 1 where something is, each on a line of its own, and with 4 where VOLUME is none.
"""

import os
import struct
import sys

PAGE_SIZE_AT = 40
META = struct.Struct("=QHHHH II QQ")
INVALID = (1 << 64) - 1


class Damage(Exception):
    pass


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


# MARK: The pages of LMDB 0.9


class Meta:
    """A meta page: its 152 bytes, as they stand in meta.mdb and in a slot of `durable`."""

    def __init__(self, data):
        if len(data) < 152:
            raise Damage("a meta page is cut short")
        flags, = struct.unpack_from("=H", data, 10)
        magic, version = struct.unpack_from("=II", data, 16)
        if magic != 0xBEEFC0DE or version != 1 or not flags & 0x08:
            raise Damage("not a meta page of LMDB 0.9")
        self.page_size, = struct.unpack_from("=I", data, PAGE_SIZE_AT)
        self.free_root, = struct.unpack_from("=Q", data, 80)
        self.tables_root, = struct.unpack_from("=Q", data, 128)
        self.last_page, self.commit = struct.unpack_from("=QQ", data, 136)
        if self.page_size not in [1 << n for n in range(9, 17)]:
            raise Damage("impossible page size")


class Pages:
    """The trees of one commit of an LMDB file."""

    def __init__(self, path, meta):
        with open(path, "rb") as file:
            self.data = file.read()
        self.meta = meta
        self.size = meta.page_size
        # Pages that were looked at.
        self.visited = set()

    def page(self, number):
        start = number * self.size
        if number > self.meta.last_page or start + self.size > len(self.data):
            raise Damage(f"page {number} lies beyond the end")
        self.visited.add(number)
        own, = struct.unpack_from("=Q", self.data, start)
        if own != number:
            raise Damage(f"page {number} says that it is page {own}")
        return start

    def walk(self, root, depth=0):
        """Key, value and flags of each node below the page `root`, in order."""
        if root == INVALID:
            return
        if depth > 64:
            raise Damage("a tree that is too deep")
        start = self.page(root)
        flags, lower, upper = struct.unpack_from("=HHH", self.data, start + 10)
        if not flags & 3 or lower < 16 or lower > upper or upper > self.size:
            raise Damage(f"page {root} is no branch and no leaf")
        for index in range((lower - 16) // 2):
            offset, = struct.unpack_from("=H", self.data, start + 16 + 2 * index)
            if offset + 8 > self.size:
                raise Damage(f"a node beyond the end of page {root}")
            low, high, node_flags, key_size = struct.unpack_from(
                "=HHHH", self.data, start + offset)
            if flags & 1:
                yield from self.walk(low | high << 16 | node_flags << 32, depth + 1)
                continue
            key = start + offset + 8
            size = low | high << 16
            if node_flags & 1:
                first, = struct.unpack_from("=Q", self.data, key + key_size)
                value = first * self.size + 16
                if value + size > len(self.data):
                    raise Damage("a large value beyond the end")
            else:
                value = key + key_size
                if value + size > start + self.size:
                    raise Damage(f"a node beyond the end of page {root}")
            yield self.data[key:key + key_size], self.data[value:value + size], node_flags

    def tables(self):
        """The root of each named table."""
        result = {}
        for key, value, flags in self.walk(self.meta.tables_root):
            if flags & 2 and len(value) == 48:
                result[key.decode("ascii", "replace")] = struct.unpack_from("=Q", value, 40)[0]
        return result


# MARK: Which commit


def durable_slots(path):
    with open(path, "rb") as file:
        data = file.read()
    slots = []
    for start in (0, 4096):
        slot = data[start:start + 220]
        if len(slot) < 220 or slot[:8] != b"TIDEDURA":
            continue
        version, = struct.unpack_from(">I", slot, 8)
        if version != 2 or crc32c(slot[:216]) != struct.unpack_from(">I", slot, 216)[0]:
            continue
        number, = struct.unpack_from(">Q", slot, 16)
        boot = slot[24:64].rstrip(b"\0").decode("ascii", "replace")
        slots.append((number, slot[12] == 1, boot, slot[64:216]))
    return sorted(slots)


def open_commit(volume, boot):
    """The pages as of the commit that a reader has to see."""
    slots = durable_slots(volume + "/durable")
    if not slots:
        raise Damage("durable holds no whole slot")
    _, is_clean, made_in, kept = slots[-1]
    path = volume + "/meta.mdb"
    if not is_clean and made_in != boot:
        return Pages(path, Meta(kept))
    metas = []
    with open(path, "rb") as file:
        head = file.read(2 * 65536 + 152)
    for start in (0, Meta(kept).page_size):
        try:
            metas.append(Meta(head[start:start + 152]))
        except Damage:
            pass
    if not metas:
        raise Damage("meta.mdb has no meta page")
    return Pages(path, max(metas, key=lambda meta: meta.commit))


# MARK: Records

SIZES = {
    "inodes": (8, 108), "extents": (17, 17), "free": (8, 12), "freelen": (16, 4),
    "reclaim": (8, 12), "freeinos": (8, 4),
}
TYPES = {1, 2, 4, 6, 8, 10, 12}
MASK = (1 << 64) - 1


def mix(checksum):
    x = checksum + 0x9E3779B97F4A7C15 & MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


class Volume:
    def __init__(self, volume, boot):
        self.path = volume
        self.problems = []
        self.pages = open_commit(volume, boot)
        self.roots = self.pages.tables()
        if "super" not in self.roots:
            raise Damage("meta.mdb has no table super")

    def records(self, name):
        if name not in self.roots:
            self.wrong(f"there is no table {name}")
            return
        for key, value, _ in self.pages.walk(self.roots[name]):
            yield key, value

    def wrong(self, words):
        self.problems.append(words)

    def sound(self, name):
        """The records whose checksum is right, without it."""
        for key, value in self.records(name):
            sizes = SIZES.get(name)
            if len(value) < 4 or sizes and (len(key), len(value)) != sizes:
                self.wrong(f"{name} {key.hex()}: wrong length")
            elif crc32c(key + value[:-4]) != struct.unpack(">I", value[-4:])[0]:
                self.wrong(f"{name} {key.hex()}: wrong checksum")
            else:
                yield key, value[:-4]

    def dump(self, out):
        for name in sorted(self.roots):
            for key, value in self.records(name):
                out.write(f"{name} {key.hex()} {value.hex()}\n")

    # MARK: Judging

    def judge(self):
        self.read_super()
        self.read_inodes()
        self.read_names()
        self.read_attributes()
        self.read_extents()
        self.read_space()
        self.judge_inodes()
        self.judge_numbers()
        self.judge_indexes()
        self.judge_data()

    def read_super(self):
        self.geometry = self.counters = None
        self.generations = {}
        for key, body in self.sound("super"):
            if key == b"geometry" and len(body) == 48:
                magic, version, block, blocks, start, end = struct.unpack_from(">QIIQII", body)
                if magic != 0x544944454D41524B or version != 2:
                    raise Damage("no volume of format 2")
                self.geometry = (block, blocks, start, end, body[32:48])
            elif key == b"counters" and len(body) == 28:
                self.counters = struct.unpack(">QIQQ", body)
            elif key.startswith(b"generation/"):
                parts = key.decode("ascii", "replace").split("/")
                state, entries, total = struct.unpack_from(">BQQ", body)
                if state == 1:
                    if parts[1] in self.generations:
                        self.wrong(f"two active generations of {parts[1]}")
                    self.generations[parts[1]] = (f"{parts[1]}.g{parts[2]}", entries, total)
            else:
                self.wrong(f"super {key!r} is no record")
        if self.geometry is None or self.counters is None:
            raise Damage("no geometry, or no counters")
        if self.geometry[0] not in [1 << n for n in range(9, 17)]:
            raise Damage("impossible block size")

    def read_inodes(self):
        self.inodes = {}
        for key, body in self.sound("inodes"):
            number, = struct.unpack(">Q", key)
            fields = struct.unpack_from(">BBHIIIIIQQQQ", body)
            if fields[0] not in TYPES or fields[1] or not 1 <= number <= 1 << 62:
                self.wrong(f"inode {number} is damaged")
                continue
            self.inodes[number] = {
                "type": fields[0], "uid": fields[3], "gid": fields[4], "project": fields[5],
                "links": fields[6], "generation": fields[7], "size": fields[8],
                "blocks": fields[9], "parent": fields[11], "names": 0, "directories": 0,
                "entries": 0, "held": 0, "target": None, "named by": None,
            }
        root = self.inodes.get(1)
        if root is None or root["type"] != 4:
            self.wrong("inode 1 is not a directory")

    def read_names(self):
        self.parents = {}
        for key, body in self.sound("dirents"):
            if len(key) < 9 or len(body) != 13:
                self.wrong(f"dirents {key.hex()}: wrong length")
                continue
            directory, = struct.unpack_from(">Q", key)
            name = key[8:]
            child, generation, kind = struct.unpack(">QIB", body)
            if b"\0" in name or b"/" in name or name in (b".", b"..") or len(name) > 255:
                self.wrong(f"dirents {key.hex()}: no name")
                continue
            self.parents[key_of(child, directory) + name] = struct.pack(">I", generation)
            inode, above = self.inodes.get(child), self.inodes.get(directory)
            if above is None or above["type"] != 4:
                self.wrong(f"an entry in {directory}, which is no directory")
            else:
                above["entries"] += 1
                above["directories"] += kind == 4
            if inode is None:
                self.wrong(f"an entry of {directory} for inode {child}, which does not exist")
                continue
            if (inode["type"], inode["generation"]) != (kind, generation):
                self.wrong(f"an entry of {directory} for another inode than {child} is")
            inode["names"] += 1
            inode["named by"] = directory

    def read_attributes(self):
        self.remote = {}
        for key, body in self.sound("xattrs"):
            number, = struct.unpack_from(">Q", key.ljust(8, b"\0"))
            if number not in self.inodes:
                self.wrong(f"an attribute of inode {number}, which does not exist")
            if not body or body[0] > 1 or body[0] == 1 and len(body) != 13:
                self.wrong(f"xattrs {key.hex()} is damaged")
            elif body[0] == 1:
                offset, length = struct.unpack_from(">QI", body, 1)
                self.remote.setdefault(number, []).append((offset, -(-length // self.geometry[0])))
        for key, body in self.sound("symlinks"):
            inode = self.inodes.get(struct.unpack(">Q", key)[0]) if len(key) == 8 else None
            if inode is None or inode["type"] != 10:
                self.wrong(f"a target of {key.hex()}, which is no symlink")
            else:
                inode["target"] = len(body)

    def read_extents(self):
        blocks = self.geometry[1]
        self.rmap, self.owned, last = {}, [], None
        attribute = {}
        for key, body in self.sound("extents"):
            inode, fork, offset = struct.unpack(">QBQ", key)
            start, length, state = struct.unpack(">QIB", body)
            if fork > 1 or state > 1 or length == 0 or start + length > blocks:
                self.wrong(f"extents {key.hex()} is damaged")
                continue
            self.rmap[struct.pack(">QQBQ", start, inode, fork, offset)] = struct.pack(
                ">IB", length, state)
            self.owned.append((start, length))
            if last is not None and last[:2] == (inode, fork) and last[2] > offset:
                self.wrong(f"inode {inode}: two extents at offset {offset}")
            last = (inode, fork, offset + length)
            if fork == 1:
                attribute.setdefault(inode, []).append((offset, length))
            if inode == 0:
                continue
            owner = self.inodes.get(inode)
            if owner is None or fork == 0 and owner["type"] != 8:
                self.wrong(f"an extent of inode {inode}, which has none")
            else:
                owner["held"] += length
        for inode in set(attribute) | set(self.remote):
            self.judge_remote(inode, attribute.get(inode, []), self.remote.get(inode, []))

    def judge_remote(self, inode, extents, values):
        mapped = {offset + at for offset, length in extents for at in range(length)}
        used = set()
        for offset, length in values:
            wanted = set(range(offset, offset + length))
            if not wanted <= mapped:
                self.wrong(f"inode {inode}: an attribute without its blocks")
            if wanted & used:
                self.wrong(f"inode {inode}: attributes share blocks")
            used |= wanted
        if mapped - used:
            self.wrong(f"inode {inode}: blocks that no attribute uses")

    def read_space(self):
        _, blocks, at_start, at_end, _ = self.geometry
        free = {}
        for key, body in self.sound("free"):
            free[struct.unpack(">Q", key)[0]] = struct.unpack(">Q", body)[0]
        by_length = set()
        for key, _ in self.sound("freelen"):
            length, start = struct.unpack(">QQ", key)
            by_length.add((start, length))
        if by_length != set(free.items()):
            self.wrong("free and freelen differ")
        end, was_free = 0, False
        ranges = [(start, length, False) for start, length in self.owned]
        ranges += [(start, length, True) for start, length in free.items()]
        for start, length, is_free in sorted(ranges):
            if start > end:
                self.wrong(f"blocks {end} to {start} are neither free nor owned")
            if start < end:
                self.wrong(f"block {start} has two owners, or is free as well")
            if start == end and is_free and was_free:
                self.wrong(f"free space that touches other free space, at {start}")
            end, was_free = max(end, start + length), is_free
        if end != blocks:
            self.wrong(f"the blocks end at {end} instead of {blocks}")
        reserved = [(0, at_start)] + ([(blocks - at_end, at_end)] if at_end else [])
        own = {(struct.unpack_from(">Q", key)[0], struct.unpack(">IB", value)[0])
               for key, value in self.rmap.items() if struct.unpack_from(">Q", key, 8)[0] == 0}
        if own != set(reserved):
            self.wrong("the reserved areas are others")
        if sum(free.values()) != self.counters[3]:
            self.wrong("the counter of free blocks")
        self.free_blocks = sum(free.values())

    def judge_inodes(self):
        unlinked = set()
        for key, value in self.sound("reclaim"):
            number, = struct.unpack(">Q", key)
            unlinked.add(number)
            inode = self.inodes.get(number)
            if inode is None:
                self.wrong(f"inode {number} is to be reclaimed and does not exist")
            elif inode["links"] > 0 and (
                    inode["type"] != 8
                    or struct.unpack(">Q", value)[0] * self.geometry[0] < inode["size"]):
                self.wrong(f"contents of inode {number} are to be reclaimed")
        for number, inode in self.inodes.items():
            if inode["held"] != inode["blocks"]:
                self.wrong(f"inode {number}: {inode['blocks']} blocks, has {inode['held']}")
            if inode["type"] == 4:
                self.judge_directory(number, inode)
            else:
                if inode["links"] != inode["names"]:
                    self.wrong(f"inode {number}: {inode['links']} links, {inode['names']} names")
                if inode["parent"] != 0:
                    self.wrong(f"inode {number} is no directory, and has a parent")
            if inode["type"] == 10 and inode["target"] != inode["size"]:
                self.wrong(f"symlink {number}: size or target")
            if inode["links"] == 0 and number not in unlinked:
                self.wrong(f"inode {number} has no links, and is not to be reclaimed")

    def judge_directory(self, number, inode):
        is_named = inode["names"] == (0 if number == 1 else 1)
        parent = 1 if number == 1 else inode["named by"]
        if inode["links"] == 0 and inode["names"] == 0:
            return
        if not is_named or inode["parent"] != parent:
            self.wrong(f"directory {number}: names or parent")
        if inode["links"] != 2 + inode["directories"]:
            self.wrong(f"directory {number}: links")
        if inode["size"] != inode["entries"]:
            self.wrong(f"directory {number}: size")
        seen, at = set(), number
        while at != 1:
            if at in seen or at not in self.inodes:
                self.wrong(f"directory {number} is not below the root")
                break
            seen.add(at)
            at = self.inodes[at]["named by"]

    def judge_numbers(self):
        free = {struct.unpack(">Q", key)[0] for key, _ in self.sound("freeinos")}
        following, _, inodes, _ = self.counters
        if inodes != len(self.inodes):
            self.wrong("the counter of inodes")
        if max(self.inodes, default=0) >= following or any(n >= following for n in free):
            self.wrong("the next inode number")
        if free & set(self.inodes) or any(number < 2 for number in free):
            self.wrong("a free inode number that is in use")
        if len(free | set(self.inodes)) != following - 1:
            self.wrong("inode numbers that are neither in use nor free")

    def judge_indexes(self):
        self.judge_index("rmap", self.rmap)
        self.judge_index("parents", self.parents)
        usage = {}
        for inode in self.inodes.values():
            for kind, field in ((1, "uid"), (2, "gid"), (3, "project")):
                counter = usage.setdefault(struct.pack(">BI", kind, inode[field]), [0, 0])
                counter[0] += inode["blocks"]
                counter[1] += 1
        self.judge_index(
            "quota", {key: struct.pack(">QQ", *value) for key, value in usage.items()})

    def judge_index(self, name, wanted):
        if name not in self.generations:
            self.wrong(f"no active generation of {name}")
            return
        table, entries, total = self.generations[name]
        found, count, added = {}, 0, 0
        for key, value in self.sound(table):
            found[key] = value
            if name == "quota":
                kind, owner = struct.unpack(">BI", key) if len(key) == 5 else (0, 0)
                blocks, inodes = struct.unpack(">QQ", value) if len(value) == 16 else (0, 0)
                count += inodes
                weight = mix(owner) ^ kind * 0x9E3779B97F4A7C15 & MASK
                added += weight * (blocks + inodes * 0xC2B2AE3D27D4EB4F)
            else:
                count += 1
                added += mix(crc32c(key + value))
        for key in sorted(set(found) | set(wanted)):
            if found.get(key) != wanted.get(key):
                self.wrong(f"{name} {key.hex()}: {found.get(key)}, not {wanted.get(key)}")
        if (count & MASK, added & MASK) != (entries, total):
            self.wrong(f"the record of {table} counts another table")

    def judge_data(self):
        block, blocks, _, _, identity = self.geometry
        path = self.path + "/data"
        if not os.path.exists(path):
            self.wrong("data is missing")
            return
        with open(path, "rb") as file:
            label = file.read(28)
            length = file.seek(0, os.SEEK_END)
        whole = label[:24] == b"TIDEDATA" + identity
        if not whole or struct.unpack(">I", label[24:])[0] != crc32c(label[:24]):
            self.wrong("the label of data")
        if length < block * blocks:
            self.wrong("data is shorter than the volume")


def key_of(child, parent):
    return struct.pack(">QQ", child, parent)


def main(arguments):
    boot, dumps = None, False
    while arguments and arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option == "--boot" and arguments:
            boot = arguments.pop(0)
        elif option == "--dump":
            dumps = True
        else:
            arguments = []
    if len(arguments) != 1:
        sys.stderr.write(__doc__)
        return 8
    if boot is None:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    try:
        volume = Volume(arguments[0], boot)
        if dumps:
            volume.dump(sys.stdout)
            return 0
        volume.judge()
    except (Damage, OSError) as error:
        print(error)
        return 4
    for problem in volume.problems:
        print(problem)
    return 1 if volume.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
