"""What commands make of volumes in which bytes were flipped: see Scripts/flips."""

import argparse
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Tests/Reader"))
import read_volume  # noqa: E402

COMMANDS = ["verify", "stat", "dump", "check", "patch", "rebuild", "mount"]
SECONDS = 20
# What a command may end with: exit statuses are a sum of bits (tidemark(1)).
STATUSES = range(0, 32)
FAULT = "metadata could not be read"


class Flips:
    def __init__(self, options):
        self.options = options
        self.problems = []
        self.answers = collections.Counter()

    def run(self, *words, seconds=SECONDS):
        """Exit status and what was printed; a hang is status 124."""
        try:
            ended = subprocess.run(
                [self.options.tidemark, *words], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
            return ended.returncode, ended.stdout.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            return 124, "no answer"

    # MARK: Volumes

    def make(self, folder):
        """A volume in which every kind of record occurs, one that was closed and one that was
        not, beside a run that can go on."""
        base = folder + "/base"
        tree = folder + "/tree"
        os.makedirs(tree + "/deep/er")
        for number in range(40):
            with open(f"{tree}/file-{number}", "wb") as file:
                file.write(b"x" * (number * 700))
            os.link(f"{tree}/file-{number}", f"{tree}/deep/link-{number}")
            os.symlink("../" * (number % 7) + "x", f"{tree}/deep/er/to-{number}")
        for number in range(0, 40, 5):
            os.setxattr(f"{tree}/file-{number}", "user.small", b"1")
            os.setxattr(f"{tree}/file-{number}", "user.large", b"2" * 3000)
        self.expect(0, "create", base, "--size", "16M")
        self.expect(0, "import", base, tree)
        unclosed = folder + "/unclosed"
        shutil.copytree(base, unclosed)
        with open(unclosed + "/durable", "r+b") as file:
            self.unclose(file)
        return [base, base, unclosed]

    def unclose(self, file):
        """Makes of the slots those of a volume that is in use, in this run of the kernel."""
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot_id:
            boot = boot_id.read().strip().encode()
        for start in (0, 4096):
            file.seek(start)
            slot = bytearray(file.read(220))
            if len(slot) < 220 or slot[:8] != b"TIDEDURA":
                continue
            slot[12] = 0
            slot[24:64] = boot.ljust(40, b"\0")
            slot[216:220] = read_volume.crc32c(slot[:216]).to_bytes(4, "big")
            file.seek(start)
            file.write(slot)

    def expect(self, status, *words):
        got, text = self.run(*words, seconds=120)
        if got != status:
            sys.exit(f"flips: {' '.join(words)} ended with {got}: {text[-2000:]}")

    def pages(self, volume):
        """The pages of the metadata that the last commit reaches, and those of its meta pages."""
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            pages = read_volume.open_commit(volume, file.read().strip())
        for root in list(pages.tables().values()) + [pages.meta.free_root]:
            for _ in pages.walk(root):
                pass
        return [0, 1, *sorted(pages.visited)]

    def flip(self, volume, dice):
        """Flips bytes of one file; of metadata only in pages that are in use."""
        pages = self.pages(volume)
        name = dice.choices(["meta.mdb", "durable", "data", "lock"], [90, 6, 3, 1])[0]
        path = volume + "/" + name
        size = os.path.getsize(path)
        limit = {"data": 28, "durable": 4096 + 220}.get(name, size)
        done = []
        with open(path, "r+b") as file:
            near = dice.randrange(max(1, limit))
            for _ in range(dice.choice([1, 1, 1, 2, 4, 16])):
                place = dice.choice([near, dice.randrange(max(1, limit))])
                if name == "meta.mdb":
                    # Heads of pages, places of nodes in them, and nodes, which fill them from
                    # their ends.
                    place = dice.choice(pages) * 4096 + dice.choice([
                        dice.randrange(16), dice.randrange(16, 160), dice.randrange(4096),
                        dice.randrange(3000, 4096), dice.randrange(3800, 4096)])
                place = min(place, max(0, size - 1))
                file.seek(place)
                old = file.read(1) or b"\0"
                new = dice.choice([
                    old[0] ^ 1 << dice.randrange(8), dice.randrange(256), 0, 255,
                    (old[0] + 1) % 256, (old[0] - 1) % 256])
                file.seek(place)
                file.write(bytes([new]))
                done.append(f"{name}:{place}:{old[0]:02x}>{new:02x}")
        return done

    # MARK: One volume

    def judge(self, seed, volume, flipped):
        read = self.read(volume)
        for command in self.options.commands:
            copy = volume + "-" + command
            shutil.copytree(volume, copy)
            try:
                status, text = self.command(command, copy)
                self.answers[command, status] += 1
                where = f"seed {seed} ({' '.join(flipped)}): {command} ended with {status}"
                if status not in STATUSES:
                    self.problem(f"{where}, a signal or a hang: {text[-600:]}")
                elif FAULT in text or "Fatal error" in text or "Assertion" in text:
                    self.problem(f"{where}, a fault: {text[-600:]}")
                elif status != 0 and not text.strip():
                    self.problem(f"{where}, without a word")
                elif command in ("verify", "check") and status == 0 and read:
                    self.problem(f"{where}, clean; the reader says: {'; '.join(read[:5])}")
                elif command in ("patch", "rebuild") and status == 0:
                    left = self.read(copy)
                    verified, words = self.run("verify", copy)
                    if left or verified != 0:
                        self.problem(
                            f"{where}, clean; then verify {verified}: {words[-600:]}; the reader: "
                            f"{'; '.join(left[:5])}")
            finally:
                shutil.rmtree(copy, ignore_errors=True)

    def read(self, volume):
        """What an independent reading says is wrong."""
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        try:
            found = read_volume.Volume(volume, boot)
            found.judge()
            return found.problems
        except (read_volume.Damage, OSError) as error:
            return [str(error)]
        except Exception as error:  # noqa: BLE001: a reader that fails has not found it clean
            return [f"{type(error).__name__}: {error}"]

    def command(self, command, volume):
        if command in ("patch", "rebuild"):
            return self.run("repair", volume, "--strategy", command)
        if command == "dump":
            worst = (0, "")
            for table in ("inodes", "dirents", "extents", "super", "runs", "hooklog"):
                worst = max(worst, self.run("dump", volume, table), key=lambda ended: ended[0])
            return worst
        if command == "mount":
            return self.mount(volume)
        return self.run(command, volume)

    def mount(self, volume):
        """Mounts, reads and writes everything, and unmounts. Errors of files are none here."""
        point = volume + ".mount"
        os.mkdir(point)
        try:
            status, text = self.run("mount", volume, point)
            if status != 0:
                return status, text
            try:
                used = subprocess.run(
                    ["bash", "-c", 'cd "$1" && find . -ls; tar cf - . | cat >/dev/null; '
                     'mkdir made && echo 1 >made/file && mv made/file made/other && '
                     'ln made/other made/again && rm -r made; rm -f file-1; sync -f .; true',
                     "use", point], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, timeout=SECONDS, check=False)
                text = used.stdout.decode("utf-8", "replace")
                if "Transport endpoint is not connected" in text:
                    return 139, "the server has died while it was used: " + text[-300:]
            except subprocess.TimeoutExpired:
                return 124, "no answer while it was used"
            return self.run("unmount", point)
        finally:
            subprocess.run(
                ["umount", "-l", point], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                check=False)
            os.rmdir(point)

    def problem(self, text):
        self.problems.append(text)
        print(text, flush=True)

    def all(self):
        with tempfile.TemporaryDirectory(dir=self.options.directory) as folder:
            bases = self.make(folder)
            first = self.options.seed
            for seed in range(first, first + self.options.volumes):
                dice = random.Random(seed)
                volume = f"{folder}/{seed}"
                shutil.copytree(dice.choice(bases), volume)
                flipped = self.flip(volume, dice)
                self.judge(seed, volume, flipped)
                shutil.rmtree(volume)
        for command in self.options.commands:
            answers = {status: self.answers[command, status] for status in range(-64, 256)
                       if self.answers[command, status]}
            print(f"{command}: " + ", ".join(
                f"{count} ended with {status}" for status, count in answers.items()))
        print(f"{self.options.volumes} volumes from seed {first} on, "
              f"{len(self.problems)} wrong answers")
        return 1 if self.problems else 0


def main():
    parser = argparse.ArgumentParser(prog="Scripts/flips")
    parser.add_argument("--volumes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--tidemark", required=True)
    parser.add_argument("--directory", default=None)
    options = parser.parse_args()
    options.commands = options.commands.split(",")
    return Flips(options).all()


if __name__ == "__main__":
    sys.exit(main())
