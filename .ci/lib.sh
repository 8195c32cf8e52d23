# Sourced by every stage: the place, the environment, and where results go. A stage can be run by
# itself (`.ci/stages/NAME`); what it needs must have been made before, or `.ci/run NAME` makes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Line tables are enough for a backtrace and halve the time of a build.
export CI=true CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=line-tables-only RUST_BACKTRACE=1

target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$target/debug
interop=${GGEND_INTEROP_DIR:-$target/interop}
systemd_root=$target/systemd/bookworm
tools=$target/tools
export GGEND_INTEROP_DIR=$interop
export PATH=$tools/bin:$PATH

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

# run COMMAND…: prints a command and runs it.
run() {
    printf '+'
    printf ' %q' "$@"
    printf '\n'
    "$@"
}

# summary TEXT: one line for the end of `.ci/run`.
summary() { printf '%s\n' "$1" >>"${CI_SUMMARY:-/dev/stdout}"; }

# summary_of_tests FILE: the sum of cargo's results.
summary_of_tests() {
    summary "$(awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
        END { printf "%d passed, %d failed, %d ignored", passed, failed, ignored }' "$1")"
}

# run_last COMMAND…: runs it; the last line of what it prints is the summary.
run_last() {
    local log code=0
    log=$(mktemp)
    run "$@" 2>&1 | tee "$log" || code=$?
    summary "$(tail -n 1 "$log")"
    rm -f "$log"
    return $code
}

# programs: names the programs that `build` has made, for the scripts that try them.
programs() {
    export GGEND=$bin/ggend GGEN=$bin/ggen GGEND_FIXTURE=$bin/ggend-fixture
    [ -x "$GGEND" ] || { echo "$GGEND is not there: run .ci/stages/build first" >&2; return 1; }
}
