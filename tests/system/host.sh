# shellcheck shell=sh
# For scripts that boot machines: what they need of the host, and namespaces for them. Sourced.

# Leaves the script where the host cannot boot machines, with one line that says why, successfully
# but for CI=true. $1: what is left out; the others: Debian packages, installed if they are missing.
need_host() {
    left_out=$1
    shift
    [ "$(id -u)" -eq 0 ] || leave_out 'root'
    command -v apt-get >/dev/null || leave_out "Debian's apt-get"
    grep -qw overlay /proc/filesystems || modprobe -q overlay || leave_out 'overlayfs'
    missing=
    for package in mmdebstrap systemd-container util-linux mount python3 "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086 # a list of words
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
        --no-install-recommends install $missing; } >&2 ||
        leave_out "the packages$missing, which could not be installed"
}

leave_out() {
    echo "left out: $left_out, which need $1" >&2
    [ "${CI:-}" != true ]
    exit
}

# Runs a command in a PID namespace that ends with this script, even if it is killed: nothing
# survives a run, no process, and with the mount namespace no mount. Exits with its status.
in_namespaces() {
    RUPTIME_TEST_RUN=$$
    export RUPTIME_TEST_RUN
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
        --propagation private "$@" &
    unshare=$!
    trap stop_namespaces INT TERM HUP
    # A trapped signal ends the wait before the command has cleaned up.
    while :; do
        status=0
        wait "$unshare" || status=$?
        kill -0 "$unshare" 2>/dev/null || break
    done
    exit "$status"
}

# shellcheck disable=SC2317 # the trap calls it
stop_namespaces() {
    xargs -r kill -TERM <"/proc/$unshare/task/$unshare/children"
}
