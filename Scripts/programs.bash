# What real programs do on a mounted volume, each in a directory of its own, and how each is asked
# whether what it reads is what it has written. To be sourced. One round of a program is a function
# `<name>_round`, which is given the number of the round and ends with the first failure; what has
# to be there before the first is `<name>_start`. `$source` is a directory that is not on the mount.
#
# Who starts them sets `$work`, a directory for logs, `$point`, the mount point, `$source` and
# `$seed`, and defines `finding`, which is told of a program that has failed, and does not return.

programs=(git sqlite tar rsync swift fio dbench stress)

# What the chosen programs are, and what asks them.
need_programs() {
    local name
    need_packages jq python3 tar
    for name in "${programs[@]}"; do
        case "$name" in
        swift) need_swift ;;
        sqlite) need_packages sqlite3 ;;
        stress) need_packages stress-ng ;;
        *) need_packages "$name" ;;
        esac
    done
}

# Expects that a command prints exactly this.
prints() {
    local wanted="$1" printed
    shift
    printed="$("$@")"
    [[ "$printed" == "$wanted" ]] || { echo "'$*' printed '$printed', not '$wanted'"; return 1; }
}

git_start() {
    git init -q tree
    cd tree
    git config user.name programs
    git config user.email programs@localhost
    git config gc.autoDetach false
    cp -r "$root/Sources" "$root/Docs" .
    git add -A
    git commit -qm start
}

git_round() {
    local d
    for d in {1..20}; do
        mkdir -p "d$d"
        seq $((RANDOM % 3000)) >"d$d/file$((RANDOM % 8))"
        echo "$1 $d" >"d$d/always"
    done
    git add -A
    git commit -qm "round $1"
    git checkout -qb "side$1" HEAD~1
    git mv Docs "docs$1"
    git commit -qm "side $1"
    git checkout -q -
    git merge -q -m "merge $1" "side$1"
    git mv "docs$1" Docs
    git commit -qm "back $1"
    git branch -qD "side$1"
    git gc -q --prune=now
    git fsck --strict --full
    prints "" git status --porcelain
    rm -rf ../clone
    git clone -q --no-local . ../clone
    git -C ../clone fsck --strict --full
    diff -r --exclude=.git . ../clone
}

sqlite_start() {
    sqlite3 db "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INT, note BLOB);
        CREATE INDEX balances ON account (balance);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO account SELECT i, 100, randomblob(i % 700) FROM n;"
}

# Sums move between accounts, from several processes: none is lost.
sqlite_round() {
    local mode=wal writer
    (($1 % 2 == 0)) && mode=delete
    prints "$mode" sqlite3 db "PRAGMA journal_mode = $mode"
    for writer in 1 2 3; do sqlite_writer & done
    for writer in 1 2 3; do wait -n; done
    prints ok sqlite3 db "PRAGMA integrity_check"
    prints 200000 sqlite3 db "SELECT sum(balance) FROM account"
    sqlite3 db "VACUUM INTO 'copy'"
    prints "ok" sqlite3 copy "PRAGMA integrity_check"
    rm copy
}

sqlite_writer() {
    local turn
    for turn in {1..12}; do
        sqlite3 -cmd ".timeout 60000" db "BEGIN IMMEDIATE;
            UPDATE account SET balance = balance - 7, note = randomblob(id % 900)
                WHERE id % 50 = abs(random()) % 2;
            UPDATE account SET balance = (SELECT 200000 - sum(balance) FROM account WHERE id > 1)
                WHERE id = 1;
            COMMIT;"
    done
}

tar_start() { :; }

tar_round() {
    tar cf all.tar -C "$source" .
    mkdir out
    tar xf all.tar -C out
    diff -r --no-dereference "$source" out
    tar cf again.tar --sort=name -C out .
    tar df again.tar -C out
    tar czf packed.tgz out
    tar dzf packed.tgz
    rm -r out all.tar again.tar packed.tgz
}

rsync_start() { mkdir copy; }

rsync_round() {
    local changed
    rsync -aHX --delete "$source/" copy/
    prints "" rsync -aHXcni --delete "$source/" copy/
    diff -r --no-dereference "$source" copy
    # What was changed is found and put right again.
    find copy -type f -size -64k | shuf -n 50 --random-source=<(yes "$1") \
        | while read -r changed; do echo "$1" >>"$changed"; done
    find copy -type f | shuf -n 50 --random-source=<(yes "$1") | xargs -d '\n' rm -f
}

swift_start() {
    mkdir -p Sources/Parts Sources/program
    cat >Package.swift <<'END'
// swift-tools-version: 6.0
import PackageDescription
let package = Package(
    name: "program",
    targets: [
        .target(name: "Parts"), .executableTarget(name: "program", dependencies: ["Parts"]),
    ])
END
    local part
    for part in {1..12}; do
        echo "public func part$part(_ n: Int) -> Int { (0..<n).map { \$0 * $part }.reduce(0, +) }"
    done >Sources/Parts/Parts.swift
}

swift_round() {
    cat >Sources/program/main.swift <<END
import Parts
print(part1(10), part12($1))
END
    timeout 900 swift build -q --jobs 1 --disable-index-store
    prints "45 $((12 * $1 * ($1 - 1) / 2))" .build/debug/program
    (($1 % 4 != 0)) || rm -r .build
}

fio_start() { :; }

fio_round() {
    local engine=(--ioengine=psync)
    case $(($1 % 4)) in
    1) engine=(--ioengine=mmap) ;;
    2) engine=(--ioengine=libaio --direct=1 --iodepth=8) ;;
    3) engine=(--ioengine=psync --fallocate=none --fsync=16) ;;
    esac
    fio --minimal --directory=. --name="verify$1" --rw=randrw --size=24M --numjobs=2 \
        --blocksize_range=4k-64k --verify=crc32c --verify_fatal=1 --randseed="$1" "${engine[@]}"
    rm verify*
}

dbench_start() { :; }

# It takes semaphore number 0, the first after the system's start, for an error.
dbench_round() {
    local words=(-c /usr/share/dbench/client.txt -D . -t 8 2)
    timeout 300 dbench "${words[@]}" >out 2>&1 || {
        cat out
        grep -q "barrier semaphore" out
        timeout 300 dbench "${words[@]}" >out 2>&1
    }
    ! grep -iE "fail|error" out
}

stressors=(access chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fcntl
    filename flock fpunch fsize fstat getdent hdd inode-flags io iomix lease link locka lockf
    lockofd mknod open rename seek symlink sync-file sendfile splice touch utime xattr)

stress_start() { :; }

# 3 and 4: something that it wants is not to be had here.
stress_round() {
    local one status=0
    for one in $(shuf -n 4 -e "${stressors[@]}" --random-source=<(yes "$1")); do
        echo "stressor $one"
        timeout 300 stress-ng --"$one" 2 --timeout 4 --temp-path . --verify || status=$?
        [[ $status == 0 || $status == 3 || $status == 4 ]] || return "$status"
    done
}

# MARK: All of them at once

declare -A children

# Round after round of one program, until all are told to stop.
program() {
    local name="$1" round=0
    mkdir "$point/$name"
    cd "$point/$name"
    RANDOM=$seed
    "${name}_start"
    while [[ ! -e "$work/stop" ]]; do
        round=$((round + 1))
        echo "== round $round"
        "${name}_round" "$round"
        echo "$round" >"$work/rounds-$name"
    done
}

start_programs() {
    local name
    export root source point work seed
    for name in "${programs[@]}"; do
        echo 0 >"$work/rounds-$name"
        # A process group of its own, to be ended as one.
        set -m
        (set -euo pipefail; program "$name") >"$work/log-$name" 2>&1 </dev/null &
        set +m
        children[$name]=$!
    done
}

# None has found anything wrong so far.
programs_must_be_well() {
    local name status
    for name in "${!children[@]}"; do
        kill -0 "${children[$name]}" 2>/dev/null && continue
        status=0
        wait "${children[$name]}" || status=$?
        unset "children[$name]"
        ((status == 0)) && continue
        tail -n 20 "$work/log-$name" >&2
        finding "$name: its round $(($(<"$work/rounds-$name") + 1)) ended with $status"
    done
}

# Each ends its round: there is a time in which every round is done.
end_programs() {
    touch "$work/stop"
    local patience=1800
    while ((${#children[@]} > 0)); do
        programs_must_be_well
        ((patience-- > 0)) || finding "${!children[*]}: still in a round after half an hour"
        sleep 1
    done
}

# Ends the programs and the mount, whatever state they are in: without its server a request fails.
stop_all() {
    local child
    trap - EXIT
    touch "$work/stop"
    for child in "${children[@]}"; do kill -- "-$child" 2>/dev/null || true; done
    # Where nothing is mounted, neither finds anything to do.
    timeout 150 "$TIDEMARK" unmount "$point" --force >/dev/null 2>&1 \
        || umount -l "$point" 2>/dev/null || true
    for child in "${children[@]}"; do kill -9 -- "-$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
}
