"""One-line mistakes, and what survives: see Scripts/mutate."""

import argparse
import collections
import fnmatch
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# Which tests stand for a module: regular expressions of test names. Others only slow it down.
TESTS = {
    "Bytes": ["BytesTests", "TidemarkTests", "LMDBPagesTests"],
    "LMDB": ["LMDBTests", "VolumeTests.Engine", "VolumeTests.Survivor"],
    "LMDBPages": ["LMDBPagesTests"],
    "Entries": ["TidemarkTests"],
    "Contract": ["TidemarkTests", "VolumeTests.Scope", "ScenariosTests.SuiteTests"],
    "Feed": ["TidemarkTests", "ScenariosTests.SuiteTests", "VolumeTests.Resume"],
    "Shadow": ["TidemarkTests", "ScenariosTests.SuiteTests", "VolumeTests.Resume"],
    "SideFile": ["TidemarkTests", "VolumeTests.Resume"],
    "Engine": ["TidemarkTests", "ScenariosTests", "VolumeTests"],
    "Driver": ["TidemarkTests", "VolumeTests.Engine"],
    "GenerationLife": ["VolumeTests", "ScenariosTests"],
    "VolumeFormat": ["VolumeTests", "CampaignTests"],
    "VolumeIndexes": ["VolumeTests", "ScenariosTests.MemoryVolume"],
    "VolumeVerify": ["VolumeTests", "CampaignTests", "ScrubTests"],
    "Volume": ["VolumeTests", "CampaignTests", "ScrubTests"],
    "Scrub": ["ScrubTests"],
    "LinuxFilesystem": ["LinuxFilesystemTests"],
    "LinuxOwner": ["LinuxFilesystemTests", "LinuxIndexTests"],
    "LinuxIndex": ["LinuxIndexTests"],
    "Control": ["ControlTests", "RunServiceTests"],
    "RunService": ["RunServiceTests"],
    "Catalogue": ["TidemarkTests", "AdoptingTests"],
}

# Comparisons and signs, each with what stands in its place, and the operator's precedence and
# constraint. A mistake is an operator of its own, so that no expression has to be parsed.
OPERATORS = {
    "<": ("<=", "ComparisonPrecedence", "Comparable", "Bool"),
    "<=": ("<", "ComparisonPrecedence", "Comparable", "Bool"),
    ">": (">=", "ComparisonPrecedence", "Comparable", "Bool"),
    ">=": (">", "ComparisonPrecedence", "Comparable", "Bool"),
    "==": ("!=", "ComparisonPrecedence", "Equatable", "Bool"),
    "!=": ("==", "ComparisonPrecedence", "Equatable", "Bool"),
    "+": ("-", "AdditionPrecedence", "FixedWidthInteger", "T"),
    "-": ("+", "AdditionPrecedence", "FixedWidthInteger", "T"),
}
# Characters that Swift takes for operators, one for each mistake.
CHARACTERS = [chr(code) for code in range(0x2200, 0x2300)] + [
    chr(code) for code in range(0x2190, 0x21FF)] + [
    chr(code) for code in range(0x2A00, 0x2AFF)]
CHARACTERS = [character for character in CHARACTERS if character not in "−∕∗"]

SWITCH = '''
@_silgen_name("getenv")
private func mistakeEnvironment(_ name: UnsafePointer<CChar>) -> UnsafePointer<CChar>?
@_silgen_name("atoi")
private func mistakeValue(_ text: UnsafePointer<CChar>) -> Int32
private let mistakeNumber: Int32 = mistakeEnvironment("TIDEMARK_MISTAKE").map(mistakeValue) ?? 0
@inline(never) private func isMistaken(_ number: Int32) -> Bool { mistakeNumber == number }
'''


class Mistake:
    def __init__(self, file, line, kind, old, new, text, footer):
        self.file, self.line, self.kind = file, line, kind
        self.old, self.new, self.text, self.footer = old, new, text, footer
        self.number = 0

    def __str__(self):
        return f"{self.file}:{self.line + 1}: {self.kind}: {self.old.strip()}  ->  {self.new}"


def blank_literals(line):
    """The line with strings and comments blanked, at the same columns."""
    result, inside, place = "", False, 0
    while place < len(line):
        if not inside and line.startswith("//", place):
            return result + " " * (len(line) - place)
        character = line[place]
        if character == '"':
            inside = not inside
            result += " "
        elif inside and character == "\\":
            result += "  "
            place += 1
        else:
            result += " " if inside else character
        place += 1
    return result[:len(line)].ljust(len(line))


SKIPPED = re.compile(
    r"^\s*(import|public import|package import|internal import|@|#|case .*:|//|precondition|assert|"
    r"infix|typealias|extension|protocol|struct|class|enum|package enum|public enum)|\bfunc\b|"
    r"\binit\b.*\{$|preconditionFailure|logger\.|strides? |deinit|\boperator\b")


def candidates(name, text):
    """All mistakes that can be made in a file, each as a line that does both."""
    lines = text.split("\n")
    found = []
    depth_of_text = False
    for place, line in enumerate(lines):
        if line.count('"""') % 2 == 1:
            depth_of_text = not depth_of_text
            continue
        code = blank_literals(line)
        if depth_of_text or not code.strip() or SKIPPED.search(code):
            continue

        def add(kind, new, footer, shown):
            found.append(Mistake(name, place, kind, line, shown, new, footer))

        for match in re.finditer(r" (<=|>=|==|!=|<|>|\+|-) ", code):
            sign = match.group(1)
            other, precedence, constraint, result = OPERATORS[sign]
            start, end = match.start(1), match.end(1)
            if code[end:].strip() in ("", "{") or "nil" in code[end:end + 5]:
                continue
            head, tail = line[:start], line[end:]
            footer = (
                f"infix operator §: {precedence}\n"
                f"private func § <T: {constraint}>(a: T, b: T) -> {result} {{\n"
                f"    isMistaken(#) ? a {other} b : a {sign} b\n}}\n")
            add("sign" if sign in "+-" else "comparison", head + "§" + tail, footer,
                (head + other + tail).strip())
        for match in re.finditer(r" (&&|\|\|) ", code):
            sign = match.group(1)
            other = "||" if sign == "&&" else "&&"
            precedence = (
                "LogicalConjunctionPrecedence" if sign == "&&" else "LogicalDisjunctionPrecedence")
            start, end = match.start(1), match.end(1)
            footer = (
                f"infix operator §: {precedence}\n"
                f"private func § (a: Bool, b: @autoclosure () throws -> Bool) rethrows -> Bool {{\n"
                f"    isMistaken(#) ? try a {other} b() : try a {sign} b()\n}}\n")
            add("condition", line[:start] + "§" + line[end:], footer,
                (line[:start] + other + line[end:]).strip())
        for match in re.finditer(r"(?<=[\w\])])\.\.<(?=[\w(])", code):
            footer = (
                "infix operator §: RangeFormationPrecedence\n"
                "private func § <T: FixedWidthInteger>(a: T, b: T) -> Range<T> {\n"
                "    isMistaken(#) && b > a ? a..<b - 1 : a..<b\n}\n")
            new = line[:match.start()] + " § " + line[match.end():]
            add("bound", new, footer, (line[:match.start()] + "..<(1 less) " +
                                       line[match.end():]).strip())
        for match in re.finditer(r"(?<=[ (\[])(\d[\d_]*)(?=[,) \]]|$)", code):
            if re.search(r"\b(let|var)\b.*:", code) and "=" not in code:
                continue
            number = match.group(1)
            footer = (
                "private func mistaken#<T: FixedWidthInteger>(_ value: T) -> T {\n"
                "    isMistaken(#) ? value &+ 1 : value\n}\n")
            new = f"{line[:match.start()]}mistaken#({number}){line[match.end():]}"
            add("constant", new, footer, (
                f"{line[:match.start()]}{int(number.replace('_', '')) + 1}"
                f"{line[match.end():]}").strip())
        for match in re.finditer(r"(?<=[ (])(true|false)(?=[,)]|$)", code):
            new = (f"{line[:match.start()]}({match.group(1)} != isMistaken(#))"
                   f"{line[match.end():]}")
            other = "false" if match.group(1) == "true" else "true"
            add("constant", new, "", (line[:match.start()] + other + line[match.end():]).strip())
        before = blank_literals(lines[place - 1]).rstrip() if place else ""
        after = lines[place + 1].strip() if place + 1 < len(lines) else ""
        is_whole = (
            code.count("(") == code.count(")") and code.count("{") == code.count("}")
            and re.search(r"[{};)\w\]]$", before or "{")
            and not re.search(r"(\b(return|in|else|try|throw)|[,=:?&|+(-])$", before)
            and not re.match(r"[.?:&|+*,)]|else|(\?\?)", after))
        indent = line[:len(line) - len(line.lstrip())]
        if is_whole and re.match(r"^\s+(try )?[a-z_][\w.!?\[\]]*\([^{}]*\)$", code):
            add("dropped call", f"{indent}if !isMistaken(#) {{ {line.strip()} }}", "", "(nothing)")
        if is_whole and re.match(r"^\s+[a-z_][\w.!?\[\]]*( [-+&|]*= )[^{}]*[\w)\]]$", code):
            add("dropped assignment", f"{indent}if !isMistaken(#) {{ {line.strip()} }}", "",
                "(nothing)")
        match = re.match(r"^(\s+)guard (?!.*\b(let|var|case|await)\b)([^,{}]*) else \{", code)
        if match and code.count("(") == code.count(")"):
            start, end = match.start(3), match.end(3)
            condition = line[start:end]
            mark = "try " if re.match(r"try\b", condition) else ""
            condition = condition[len(mark):]
            new = f"{line[:start]}{mark}isMistaken(#) || ({condition}){line[end:]}"
            add("dropped guard", new, "", "(nothing)")
        match = re.match(
            r"^(\s+)(\} else )?if (?!.*\b(let|var|case|await|try)\b)([^,{}]*) \{", code)
        if match and code.count("(") == code.count(")"):
            start, end = match.start(4), match.end(4)
            new = f"{line[:start]}isMistaken(#) != ({line[start:end]}){line[end:]}"
            add("condition", new, "", (f"{line[:start]}!({line[start:end]}){line[end:]}").strip())
    return found


def choose(options):
    """The mistakes: at most one in a line."""
    pool = []
    for module in options.modules:
        for folder, _, names in sorted(os.walk(f"{options.package}/Sources/{module}")):
            for name in sorted(names):
                path = os.path.relpath(f"{folder}/{name}", options.package)
                if not name.endswith(".swift") or not any(
                        fnmatch.fnmatch(path, pattern) for pattern in options.files):
                    continue
                with open(f"{options.package}/{path}", encoding="utf-8") as file:
                    pool += candidates(path, file.read())
    dice = random.Random(options.seed)
    dice.shuffle(pool)
    chosen, lines = [], set()
    for mistake in pool:
        if len(chosen) == min(options.mistakes, len(CHARACTERS)):
            break
        if (mistake.file, mistake.line) not in lines:
            lines.add((mistake.file, mistake.line))
            chosen.append(mistake)
    if options.also:
        own = given(options)
        lines = {(mistake.file, mistake.line) for mistake in own}
        chosen = [mistake for mistake in chosen if (mistake.file, mistake.line) not in lines] + own
    for number, mistake in enumerate(chosen, 1):
        mistake.number = number
    return chosen, len(pool)


def given(options):
    """Mistakes of a file: path, number of the occurrence, line, line with both; by tabs."""
    result = []
    with open(options.also, encoding="utf-8") as file:
        for text in file.read().splitlines():
            path, occurrence, old, new = text.split("\t")
            with open(f"{options.package}/{path}", encoding="utf-8") as source:
                lines = source.read().split("\n")
            places = [place for place, line in enumerate(lines) if line.strip() == old]
            if len(places) < int(occurrence):
                sys.exit(f"mutate: {path} has not got: {old}")
            place = places[int(occurrence) - 1]
            result.append(Mistake(path, place, "given", lines[place], new, new, ""))
    return result


def write(mistakes, options):
    """Puts the mistakes into the copy; what has none is as in the package."""
    by_file = collections.defaultdict(list)
    for mistake in mistakes:
        by_file[mistake.file].append(mistake)
    for path in options.touched | set(by_file):
        with open(f"{options.package}/{path}", encoding="utf-8") as file:
            lines = file.read().split("\n")
        footer = ""
        for mistake in by_file[path]:
            sign = CHARACTERS[mistake.number - 1]
            number = str(mistake.number)
            lines[mistake.line] = mistake.text.replace("§", sign).replace(
                "isMistaken(#)", f"isMistaken({number})").replace(
                "mistaken#", f"mistaken{number}")
            footer += mistake.footer.replace("§", sign).replace(
                "isMistaken(#)", f"isMistaken({number})").replace(
                "mistaken#", f"mistaken{number}")
        text = "\n".join(lines) + (SWITCH + footer if by_file[path] else "")
        put(f"{options.scratch}/{path}", plain(text))
    options.touched = set(by_file)


def plain(text):
    """Without what would let other modules see the inside of a function."""
    text = re.sub(
        r"@(inlinable|usableFromInline|frozen|inline\(__always\))[ \t]*(\n[ \t]*(?=\S))?", "", text)
    return text


def put(path, text):
    """Writes only what is another, so that no more is built than has to be."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def copy(options):
    """The package as git knows it, without the rule that warnings are errors."""
    listed = subprocess.run(
        ["git", "-C", options.package, "ls-files", "-co", "--exclude-standard"],
        stdout=subprocess.PIPE, check=False).stdout.decode().split("\n")
    names = [name for name in listed if name] or [
        os.path.relpath(f"{folder}/{name}", options.package)
        for folder, _, files in os.walk(options.package) for name in files]
    for name in names:
        source, target = f"{options.package}/{name}", f"{options.scratch}/{name}"
        if not os.path.isfile(source) or os.path.islink(source):
            continue
        if name.startswith("Sources/") and name.endswith(".swift") or name == "Package.swift":
            with open(source, encoding="utf-8") as file:
                text = file.read()
            if name == "Package.swift":
                text = text.replace(".treatAllWarnings(as: .error),", "").replace(
                    "strict + [.strictMemorySafety()]", "strict")
            put(target, plain(text))
        else:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            shutil.copy2(source, target)
    # What was fetched once need not be fetched again.
    for name in ["repositories", "checkouts", "workspace-state.json"]:
        source, target = f"{options.package}/.build/{name}", f"{options.scratch}/.build/{name}"
        if os.path.isdir(source) and not os.path.exists(target):
            shutil.copytree(source, target, symlinks=True)
        elif os.path.isfile(source) and not os.path.exists(target):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target)
    if os.path.isfile(f"{options.package}/Package.resolved"):
        shutil.copy2(f"{options.package}/Package.resolved", f"{options.scratch}/Package.resolved")


def build(mistakes, options):
    """Builds, and leaves out what does not compile, until the rest does."""
    for _ in range(40):
        write(mistakes, options)
        ended = subprocess.run(
            options.build, shell=True, cwd=options.scratch, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)
        if ended.returncode == 0:
            return mistakes
        output = ended.stdout.decode("utf-8", "replace")
        bad = set()
        for match in re.finditer(r"([^\s:]+\.swift):(\d+):\d+: error", output):
            path = os.path.relpath(os.path.join(options.scratch, match.group(1)), options.scratch)
            line = int(match.group(2)) - 1
            own = [mistake for mistake in mistakes if mistake.file == path]
            # An operator's expression may begin on a line before it.
            nearest = min((abs(mistake.line - line) for mistake in own), default=None)
            bad |= {mistake for mistake in own if abs(mistake.line - line) == nearest}
        if not bad:
            sys.exit(f"mutate: it does not build:\n{output[-3000:]}")
        print(f"{len(bad)} do not compile", file=sys.stderr, flush=True)
        mistakes = [mistake for mistake in mistakes if mistake not in bad]
    sys.exit("mutate: it does not build")


def is_built(mistake, options):
    """Whether a copy that was built before has the mistake."""
    with open(f"{options.scratch}/{mistake.file}", encoding="utf-8") as file:
        return f"isMistaken({mistake.number})" in file.read()


def module(mistake):
    return mistake.file.split("/")[1]


def tests(name):
    return "|".join(f"^{one}" for one in TESTS.get(name, [".*"]))


def run(name, number, seconds, options):
    """Runs the tests of a module: what has noticed the mistake, or None."""
    words = shlex.split(options.run.replace("FILTER", shlex.quote(tests(name))))
    environment = dict(os.environ, TIDEMARK_MISTAKE=str(number))
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        environment["TMPDIR"] = folder
        process = subprocess.Popen(
            words, cwd=options.scratch, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        is_late = threading.Event()

        def end():
            is_late.set()
            kill(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        noticed = last = None
        for line in process.stdout:
            text = re.sub(r"\x1b\[[0-9;]*m", "", line.decode("utf-8", "replace")).strip()
            last = text or last
            if text.startswith("✘"):
                # The first is enough.
                noticed = text[:160]
                kill(process)
                break
        process.stdout.close()
        status = process.wait()
        timer.cancel()
        kill(process)
        if is_late.is_set():
            return f"no end within {seconds:.0f} s"
        if noticed is None and status != 0:
            return f"ended with {status}: {(last or '')[:120]}"
        return noticed


def kill(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def main():
    parser = argparse.ArgumentParser(prog="Scripts/mutate")
    parser.add_argument("--package", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mistakes", type=int, default=40)
    parser.add_argument("--modules", default=",".join(TESTS))
    parser.add_argument("--files", default="*")
    parser.add_argument("--scratch")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--only")
    parser.add_argument("--also")
    parser.add_argument("--built", action="store_true")
    parser.add_argument("--list", action="store_true")
    # For another package than this one.
    parser.add_argument("--build", default="swift build --build-tests")
    parser.add_argument("--run", default=(
        "sh -c 'exec $(ls -d .build/*/debug | head -1)/TidemarkPackageTests.xctest "
        "--testing-library swift-testing --filter \"$0\" --skip \"$1\"' FILTER "
        "'DocumentTests|StyleTests|LayerTests'"))
    options = parser.parse_args()
    options.modules = options.modules.split(",")
    options.files = options.files.split(",")
    options.touched = set()
    options.directory = os.environ.get("TMPDIR")
    chosen, count = choose(options)
    print(f"{len(chosen)} of {count} mistakes, seed {options.seed}", flush=True)
    if options.list:
        for mistake in chosen:
            print(f"{mistake.number}: {mistake}")
        return 0
    temporary = None
    if not options.scratch:
        temporary = tempfile.TemporaryDirectory(prefix="mutate-")
        options.scratch = temporary.name
    options.scratch = os.path.abspath(options.scratch)
    if options.built:
        mistakes = [mistake for mistake in chosen if is_built(mistake, options)]
    else:
        copy(options)
        mistakes = build(chosen, options)
    print(f"{len(mistakes)} compile", flush=True)
    if options.only:
        wanted = {int(number) for number in options.only.split(",")}
        mistakes = [mistake for mistake in mistakes if mistake.number in wanted]
    limits, survivors = {}, []
    for mistake in sorted(mistakes, key=lambda mistake: mistake.kind != "given"):
        name = module(mistake)
        if name not in limits:
            start = time.monotonic()
            noticed = run(name, 0, 1800, options)
            if noticed is not None:
                sys.exit(f"mutate: without a mistake the tests of {name} fail: {noticed}")
            took = time.monotonic() - start
            limits[name] = options.seconds or 30 + 4 * took
            print(f"tests of {name}: {took:.1f} s", flush=True)
        noticed = run(name, mistake.number, limits[name], options)
        if noticed is None:
            survivors.append(mistake)
            print(f"SURVIVES {mistake.number}: {mistake}", flush=True)
        else:
            print(f"caught {mistake.number}: {mistake}\n    by {noticed}", flush=True)
    print(
        f"seed {options.seed}: {len(mistakes)} mistakes, {len(mistakes) - len(survivors)} caught, "
        f"{len(survivors)} survive", flush=True)
    if temporary:
        temporary.cleanup()
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
