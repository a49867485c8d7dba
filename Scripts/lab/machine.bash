#!/bin/bash
# Runs in the laboratory's machine: one image is damaged further or not, repaired while programs work
# in it, and compared with what it was.
#
# machine.bash mend|scrub|LIE SEED      the image is /dev/lab/d0
# Prints lines "key: value"; the driver judges them.
set -uo pipefail
what=$1 seed=$2 device=/dev/lab/d0
out=/tmp/result
mkdir -p "$out"
modprobe xfs

inventory() { # of the unmounted image
    mount -o ro "$device" /mnt && python3 /in/inventory.py /mnt load lost+found >"$1"
    umount /mnt
}

if [[ $what != mend && $what != scrub ]]; then
    python3 /in/lies.py "$device" "$what" | sed 's/^/lie: /' || exit 9
fi
xfs_repair -n "$device" >"$out/before" 2>&1
echo "xfs_repair before: $?"
inventory "$out/names-before"
echo "names: $(wc -l <"$out/names-before")"
mount "$device" /mnt || exit 9
load=
if [[ $what == scrub ]]; then
    xfs_scrub /mnt >"$out/said" 2>&1
    echo "xfs_scrub: $?"
else
    # A block that is free for one record and used for another must not be taken meanwhile.
    if [[ $what != over-free-space ]]; then
        mkdir /mnt/load
        python3 /in/load.py /mnt/load "$seed" >"$out/started" &
        load=$!
        # An emulated processor, shared with what is measured: it works a quarter of the time.
        while kill -STOP "$load" && sleep 0.15 && kill -CONT "$load" && sleep 0.05; do :; done \
            2>/dev/null &
        until [[ -s $out/started ]]; do sleep 0.1; kill -0 "$load" || exit 9; done
    fi
    tidemark check /mnt --json >"$out/check.json"
    echo "check: $?" "# $SECONDS s"
    tidemark repair /mnt --json >"$out/repair.json"
    echo "repair: $?" "# $SECONDS s"
    python3 - "$out/repair.json" <<'P'
import json
import sys
document = json.load(open(sys.argv[1]))
print("outcome:", document["outcome"])
print("verdicts:", ", ".join(
    f'{v["index"]} {v["object"]} {v["believed"]}' for v in document["verdicts"]) or "none")
print("steps:", ", ".join(
    f'{s["item"]} {s["result"] or ("held" if s["held"] else "-")}' for s in document["plan"])
    or "none")
print("surprise:", document["surprise"])
for verdict in document["verdicts"]:
    print("reason:", verdict["reason"])
P
    if [[ $what == extent-gone ]]; then
        tidemark repair /mnt --believe files --json >"$out/believe.json"
        echo "repair --believe files: $?"
    fi
    if [[ -n $load ]]; then
        kill -0 "$load" && echo "load: at work" || echo "load: ended"
        kill -CONT "$load"; kill "$load"; wait "$load" 2>/dev/null
    fi
    tidemark check /mnt >"$out/said"
    echo "check again: $?"
fi
umount /mnt || exit 9
xfs_repair -n "$device" >"$out/after" 2>&1
echo "xfs_repair after: $?"
inventory "$out/names-after"
diff "$out/names-before" "$out/names-after" >"$out/difference"
echo "names that changed: $(grep -c '^[<>]' "$out/difference")"
echo "names that are gone: $(grep -c '^<' "$out/difference")"
[[ -d /out ]] && cp "$out"/* /out/
exit 0
