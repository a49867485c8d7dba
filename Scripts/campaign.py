"""The table of the campaign's answers: see Scripts/campaign."""

import collections
import sys

VERBS = [
    "owner, paths", "serve", "verify", "check", "stat, dump", "repair patch",
    "verify after patch", "repair rebuild", "verify after rebuild", "use", "verify after use",
    "scrub", "verify after scrub", "mount, use", "verify after mount", "resume",
    "verify after resume",
]
WORDS = ["found", "refused", "incomplete", "repaired", "clean"]


def main():
    counts = collections.Counter()
    verbs_of = collections.defaultdict(set)
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            words = line.rstrip("\n").split("\t")
            if words[0] in ("trying", "problem", "done") or len(words) != 6:
                continue
            field = words[0], words[1]
            verbs_of[field].add(words[4])
            counts[field, words[4], words[5]] += 1
    # Fields of a kind have the same verbs, but for those that were never asked of one.
    kinds = collections.defaultdict(list)
    for field, verbs in verbs_of.items():
        kinds["resume" in verbs, "serve" in verbs].append(field)
    is_whole = True
    for _, fields in sorted(kinds.items()):
        verbs = [verb for verb in VERBS if any(verb in verbs_of[field] for field in fields)]
        print(f"| table | field | {' | '.join(verbs)} |")
        print("| --- " * (len(verbs) + 2) + "|")
        for field in sorted(fields):
            cells = []
            for verb in verbs:
                cell = ", ".join(
                    f"{word} {counts[field, verb, word]}" for word in WORDS
                    if counts[field, verb, word])
                is_whole = is_whole and cell != ""
                cells.append(cell or "?")
            print(f"| {field[0]} | {field[1]} | {' | '.join(cells)} |")
        print()
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
