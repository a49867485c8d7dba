// What scripts of tests wait with: the same rule as for `until`. A script must not sleep on its
// own, and a test looks for that.

/// For scripts of Python: `until(condition)` waits until it returns what is true, and returns that.
package let pythonWaiting = """
    import time as _time
    def until(condition, what="such state"):
        end = _time.monotonic() + 120
        while True:
            found = condition()
            if found: return found
            assert _time.monotonic() < end, "no " + what + " within 120 s"
            _time.sleep(0.05)

    """

/// For scripts of bash: `wait_until COMMAND [ARGUMENT]...` waits until the command succeeds; where
/// it is more than one command, it is `wait_until eval '...'`.
package let shellWaiting = """
    wait_until() {
        local end=$((SECONDS + 120))
        until "$@"; do
            if ((SECONDS > end)); then echo "within 120 s not: $*" >&2; return 1; fi
            sleep 0.05
        done
    }

    """
