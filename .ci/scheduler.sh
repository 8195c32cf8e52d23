# The scheduler of `.ci/run` and `.ci/nightly`. Runs the stages in the folder $stages, at most $slots
# at a time. A stage begins as soon as the stages that it needs are over; the file ORDER decides
# between several. Needs Bash 4.1 or later.
stages=${stages:-.ci/stages}
slots=${CI_SLOTS:-2}

began=$SECONDS
logs=$(mktemp -d)
# Each stage that is over writes its name and exit code there. (`wait -n` misses one that ended while
# the scheduler was busy with another.)
mkfifo "$logs/.over"
exec {ends}<>"$logs/.over"
declare -A pid_of=() start_of=() time_of=() state=()
order=()

field() { sed -n "s/^# $2: *//p" "$stages/$1" | head -n 1; }

# want NAME: puts a stage behind all that it needs.
want() {
    [ -z "${state[$1]:-}" ] || return 0
    [ -x "$stages/$1" ] || { echo "there is no stage $1 in $stages" >&2; exit 64; }
    state[$1]=waits
    local need
    for need in $(field "$1" needs); do want "$need"; done
    order+=("$1")
}

stop_all() {
    local pid
    for pid in "${pid_of[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
}
finish() {
    local status=$?
    stop_all
    rm -rf "$logs"
    [ $status -eq 0 ] || echo "== FAILED after $((SECONDS - began)) s"
}
trap finish EXIT
trap 'exit 130' INT TERM

begin() {
    echo "== $1: begins at $((SECONDS - began)) s"
    start_of[$1]=$SECONDS
    state[$1]=runs
    # A process group of its own, so that it can be ended with all that it has started.
    set -m
    {
        code=0
        CI_SUMMARY=$logs/$1.summary "$stages/$1" >"$logs/$1" 2>&1 </dev/null || code=$?
        echo "$1 $code" >&"$ends"
    } &
    set +m
    pid_of[$1]=$!
}

# over NAME STATUS: prints what the stage printed.
over() {
    time_of[$1]=$((SECONDS - start_of[$1]))
    wait "${pid_of[$1]}" || true
    unset "pid_of[$1]"
    echo "== $1:"
    cat "$logs/$1"
    if [ "$2" -ne 0 ]; then
        echo "== $1: FAILED ($2) after ${time_of[$1]} s; by itself: $stages/$1"
        exit 1
    fi
    state[$1]=over
    echo "== $1: ok, ${time_of[$1]} s (all: $((SECONDS - began)) s)"
}

# takes NAME: how many slots it takes.
takes() {
    local own
    [ -z "$(field "$1" beside)" ] || { echo 0; return; }
    own=$(field "$1" slots)
    own=${own:-1}
    echo $((own < slots ? own : slots))
}

# may_begin NAME: whether all that it needs is over and there is room for it.
may_begin() {
    local need other taken=0
    for need in $(field "$1" needs); do [ "${state[$need]}" = over ] || return 1; done
    for other in "${!pid_of[@]}"; do
        [ -z "$(field "$other" alone)" ] || return 1
        taken=$((taken + $(takes "$other")))
    done
    if [ -n "$(field "$1" alone)" ]; then [ ${#pid_of[@]} -eq 0 ]; return; fi
    [ $((taken + $(takes "$1"))) -le "$slots" ]
}

if [ $# -gt 0 ]; then
    for name in "$@"; do want "$name"; done
else
    while read -r name; do want "$name"; done < <(sed -e 's/#.*//' -e '/^ *$/d' "$stages/ORDER")
fi

while :; do
    waiting=0
    for name in "${order[@]}"; do
        [ "${state[$name]}" = waits ] || continue
        if may_begin "$name"; then begin "$name"; else waiting=$((waiting + 1)); fi
    done
    [ ${#pid_of[@]} -gt 0 ] || break
    read -r ended status <&"$ends"
    over "$ended" "$status"
done
[ $waiting -eq 0 ] || { echo "stages that need each other were left over" >&2; exit 70; }

echo "== all of it: $((SECONDS - began)) s"
for name in "${order[@]}"; do
    printf '%-16s %5d s  %s\n' "$name" "${time_of[$name]}" "$(tail -n 1 "$logs/$name.summary" 2>/dev/null || true)"
done
