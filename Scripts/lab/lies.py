#!/usr/bin/env python3
"""Writes one lie, with right checksums, into an unmounted XFS that has reverse mappings and parent
pointers, and prints what it has done.

lies.py DEVICE KIND      lies.py --list
"""
import re
import subprocess
import sys


def db(device, *commands, write=False):
    words = ["xfs_db"] + (["-x"] if write else [])
    for command in commands:
        words += ["-c", command]
    return subprocess.run(words + [device], capture_output=True, text=True, check=True).stdout


class Image:
    def __init__(self, device):
        self.device = device
        fields = self.fields("sb 0")
        self.block_log = int(fields["agblklog"])
        self.free = {}
        for line in db(device, "freesp -d").splitlines():
            numbers = line.split()
            if len(numbers) == 3 and all(n.isdigit() for n in numbers):
                self.free[int(numbers[0]), int(numbers[1])] = int(numbers[2])
        # Group 0's reverse map: (leaf, position, start, length, owner, offset, fork).
        self.records = []
        root = db(device, "agf 0", "addr rmaproot", "p")
        leaves = len(re.findall(r"\d+:\d+", root.split("ptrs[")[1]))
        for leaf in range(1, leaves + 1):
            text = db(device, "agf 0", "addr rmaproot", f"addr ptrs[{leaf}]", "p")
            for match in re.finditer(r"(\d+):\[([-\d,]+)\]", text):
                n = [int(x) for x in match[2].split(",")]
                self.records.append((leaf, int(match[1]), n[0], n[1], n[2], n[3], n[5], n[6]))

    def fields(self, *where):
        pairs = [line.split(" = ", 1) for line in db(self.device, *where, "p").splitlines()]
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}

    def inode(self, number):
        return self.fields(f"inode {number}")

    def data(self):
        """Records of the data forks of files."""
        return [r for r in self.records if r[4] > 0 and r[6] == 0 and r[7] == 0]

    def whole(self, blocks=1):
        """Such a record that is the only extent of a small file."""
        for record in self.data():
            if record[5] == 0 and record[3] >= blocks:
                inode = self.inode(record[4])
                if (inode.get("core.mode", "").startswith("0100")
                        and inode.get("core.nextents") == "1"
                        and inode.get("core.size") and int(inode["core.size"]) <= record[3] * 4096
                        and inode.get("core.nlinkv2") == "1"):
                    yield record, inode

    def write(self, where, field, value):
        said = db(self.device, *where, f"write -d {field} {value}", write=True)
        print(" ".join(where), said.strip())

    def write_record(self, record, field, value):
        self.write(
            ["agf 0", "addr rmaproot", f"addr ptrs[{record[0]}]"],
            f"recs[{record[1]}].{field}", value)


def wrong_owner(image):
    record, _ = list(image.whole())[5]
    image.write_record(record, "owner", 9999)


def wrong_offset(image):
    record, _ = list(image.whole())[6]
    image.write_record(record, "offset", 77)


def missing(image):
    record, _ = next(image.whole(blocks=2))
    image.write_record(record, "blockcount", record[3] - 1)


def surplus(image):
    starts = {r[2]: r for r in image.data()}
    for record in image.data():
        after = starts.get(record[2] + record[3])
        if after and after[4] != record[4]:
            image.write_record(record, "blockcount", record[3] + 1)
            return
    sys.exit("no such record")


def over_free_space(image):
    # Free, and not in the list of blocks that the group keeps for its own trees: those are mapped.
    mapped = {block for r in image.records for block in range(r[2], r[2] + r[3])}
    last = {record[0]: record for record in image.records}
    for record in image.data():
        block = record[2] + record[3]
        # Behind the last record of a leaf it would be beyond what the node above says of it.
        if (0, block) in image.free and block not in mapped and record != last[record[0]]:
            image.write_record(record, "blockcount", record[3] + 1)
            return
    sys.exit("no such record")


def wrong_parent(image):
    record, _ = list(image.whole())[7]
    image.write([f"inode {record[4]}"], "a.sfattr.list[0].parent_dir.inumber", 128)


def wrong_name_of_parent(image):
    record, inode = list(image.whole())[8]
    name = inode["a.sfattr.list[0].name"].strip('"')
    image.write([f"inode {record[4]}"], "a.sfattr.list[0].name", '"' + "x" * len(name) + '"')


def missing_parent(image):
    record, _ = list(image.whole())[9]
    where = [f"inode {record[4]}"]
    image.write(where, "a.sfattr.hdr.count", 0)
    image.write(where, "a.sfattr.hdr.totsize", 4)


def wrong_links(image):
    record, _ = list(image.whole())[10]
    image.write([f"inode {record[4]}"], "core.nlinkv2", 5)


def extent_over_another(image):
    files = list(image.whole())
    (mine, _), (other, _) = files[11], files[12]
    image.write([f"inode {mine[4]}"], "u3.bmx[0].startblock", other[2])


def extent_gone(image):
    record, _ = list(image.whole())[13]
    where = [f"inode {record[4]}"]
    image.write(where, "core.nextents", 0)
    # The kernel does not read an inode that has blocks and no extents.
    image.write(where, "core.nblocks", 0)


def name_to_nowhere(image):
    # A large directory with its entries in one block: the first file in it.
    for record in image.data():
        inode = image.inode(record[4])
        if not inode.get("core.mode", "").startswith("040") or record[5] != 0:
            continue
        where = [f"inode {record[4]}", "dblock 0"]
        fields = image.fields(*where)
        for place in range(2, 20):
            if fields.get(f"bu[{place}].filetype") == "1":
                # Far beyond what this small filesystem has given out, and within it.
                image.write(where, f"bu[{place}].inumber", 150000)
                return
    sys.exit("no such directory")


KINDS = {
    f.__name__.replace("_", "-"): f
    for f in [
        wrong_owner, wrong_offset, missing, surplus, over_free_space, wrong_parent,
        wrong_name_of_parent, missing_parent, wrong_links, extent_over_another, extent_gone,
        name_to_nowhere,
    ]
}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(KINDS))
    else:
        KINDS[sys.argv[2]](Image(sys.argv[1]))
