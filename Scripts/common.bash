# What the scripts here share. To be sourced, from anywhere.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "${0##*/}: $*"
    exit 4
}

# Runs a command as root.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "'$*' has to be run as root, and there is no sudo: run it, then start this again"
    fi
}

# Installs Debian packages, those that are not there. Where all are, nothing is done.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed \
            || missing+=("$package")
    done
    [[ ${#missing[@]} == 0 ]] && return
    command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
    say "Installing: ${missing[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
}

need_swift() {
    command -v swift >/dev/null \
        || fail "swift is not on the path: install Swift 6.3 from https://www.swift.org/install"
}

# What is needed to build.
need_build_packages() {
    need_packages liblmdb-dev libisal-dev libfuse3-dev fuse3 pkg-config
    need_swift
}

# Mebibytes of anonymous memory of the process that serves a volume.
server_memory() {
    local process
    process="$("$TIDEMARK" status "$1" --json | jq '.live.process')"
    awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$process/status"
}

# The command, built from here unless TIDEMARK names one: TIDEMARK is its path.
need_tidemark() {
    [[ -z "${TIDEMARK:-}" ]] || return 0
    need_build_packages
    swift build -c release --package-path "$root" --product tidemark >&2
    TIDEMARK="$(swift build -c release --package-path "$root" --show-bin-path)/tidemark"
}
