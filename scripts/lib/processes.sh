# shellcheck shell=bash
# The hub's processes on this machine: their ports, start, readiness and end. A process is ours when a file in
# .busbar/pids names it and it still is that program.

PID_DIR="$STATE_DIR/pids"
SANDBOX=busbar-sandbox
SERVICES=(busbar-ingress busbar-admin busbar-processor busbar-delivery busbar-scheduler)

# The drain's own deadline is 25 s.
STOP_SECONDS=30

SANDBOX_ADDRESS=127.0.0.1:8090

# ops_address SERVICE: where its /readyz is.
ops_address() {
    case $1 in
    busbar-ingress) reachable "${BUSBAR_INGRESS__OPS_LISTEN:-127.0.0.1:9080}" ;;
    busbar-admin) reachable "${BUSBAR_ADMIN__OPS_LISTEN:-127.0.0.1:9081}" ;;
    busbar-processor) reachable "${BUSBAR_PROCESSOR__OPS_LISTEN:-127.0.0.1:9082}" ;;
    busbar-delivery) reachable "${BUSBAR_DELIVERY__OPS_LISTEN:-127.0.0.1:9083}" ;;
    busbar-scheduler) reachable "${BUSBAR_SCHEDULER__OPS_LISTEN:-127.0.0.1:9084}" ;;
    esac
}

ingress_address() {
    reachable "${BUSBAR_INGRESS__LISTEN:-127.0.0.1:8080}"
}

admin_address() {
    reachable "${BUSBAR_ADMIN__LISTEN:-127.0.0.1:8081}"
}

# reachable ADDRESS: the address to call for one that is listened on.
reachable() {
    printf '%s' "${1/#0.0.0.0:/127.0.0.1:}"
}

# running PID: whether it lives; a zombie does not.
running() {
    [[ -e /proc/$1/status ]] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# pid_of PROGRAM: the process of our last run, if it still is that program.
pid_of() {
    local pid exe
    pid=$(cat "$PID_DIR/$1" 2>/dev/null) || return 0
    exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 0
    # A build since then has replaced the file.
    exe=${exe% (deleted)}
    [[ ${exe##*/} != "$1" ]] || printf '%s' "$pid"
}

# Every port that the hub needs is free, or held by our own last run.
check_ports() {
    local ours=' ' program address name pid
    for program in "$SANDBOX" "${SERVICES[@]}"; do
        ours+="$(pid_of "$program") "
    done
    local wanted=("$(ingress_address)=ingress" "$(admin_address)=admin" "$SANDBOX_ADDRESS=sandbox")
    for program in "${SERVICES[@]}"; do
        wanted+=("$(ops_address "$program")=${program#busbar-}'s ops listener")
    done
    for name in "${wanted[@]}"; do
        address=${name%%=*}
        pid=$(port_holder "${address##*:}")
        if [[ -n $pid && $ours != *" $pid "* ]]; then
            local who=
            [[ $pid == unknown ]] || who=" (process $pid, $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c 1-60))"
            die "port ${address##*:}, for the ${name#*=}, is taken by another program$who" \
                "Stop that program, or give the hub another address (BUSBAR_INGRESS__LISTEN and so on)."
        fi
    done
}

# start_program FOLDER PROGRAM [ARGUMENT...]: in a session of its own, so that Ctrl-C reaches this script alone.
start_program() {
    local program=$2 binary=$1/$2 log=$LOG_DIR/$2.log
    shift 2
    [[ ! -e $log ]] || mv "$log" "$log.previous"
    setsid "$binary" "$@" </dev/null >"$log" 2>&1 9>&- &
    printf '%s\n' "$!" >"$PID_DIR/$program"
}

# wait_ready PROGRAM ADDRESS PATH: until it answers 200; ends the script if the process dies or takes a minute.
wait_ready() {
    local pid answer='' until=$((SECONDS + 60))
    pid=$(cat "$PID_DIR/$1")
    while true; do
        answer=$(http_get "$2" "$3")
        [[ $answer != 200* ]] || return 0
        if ! running "$pid"; then
            show_end "$LOG_DIR/$1.log"
            die "$1 ended while it was starting" "Its log: .busbar/logs/$1.log"
        fi
        if ((SECONDS >= until)); then
            show_end "$LOG_DIR/$1.log"
            die "$1 is not ready after a minute" "http://$2$3 says: ${answer:-nothing}" "Its log: .busbar/logs/$1.log"
        fi
        sleep 0.1
    done
}

# stop_pids PROGRAM=PID...: asks them all to end, waits, and kills what does not.
stop_pids() {
    local entry until=$((SECONDS + STOP_SECONDS)) left
    for entry in "$@"; do
        kill -TERM "${entry#*=}" 2>/dev/null || true
    done
    while true; do
        left=()
        for entry in "$@"; do
            ! running "${entry#*=}" || left+=("$entry")
        done
        if ((${#left[@]} == 0 || SECONDS >= until)); then
            break
        fi
        sleep 0.1
    done
    for entry in "${left[@]}"; do
        say "${entry%%=*} did not end within $STOP_SECONDS s and is killed"
        kill -KILL "${entry#*=}" 2>/dev/null || true
    done
    for entry in "$@"; do
        # Another run may have written the file since.
        [[ $(cat "$PID_DIR/${entry%%=*}" 2>/dev/null) != "${entry#*=}" ]] || rm -f "$PID_DIR/${entry%%=*}"
    done
}

# Stops what runs of the hub: the services first, so that their last deliveries still find the sandbox.
# Prints nothing and is done at once when nothing runs.
stop_hub() {
    local program pid services=() sandbox=()
    for program in "${SERVICES[@]}"; do
        pid=$(pid_of "$program")
        [[ -z $pid ]] || services+=("$program=$pid")
    done
    pid=$(pid_of "$SANDBOX")
    [[ -z $pid ]] || sandbox=("$SANDBOX=$pid")
    if ((${#services[@]} + ${#sandbox[@]} > 0)); then
        say "stopping the services (they finish what they have begun; about 6 s)"
        stop_pids "${services[@]}"
        stop_pids "${sandbox[@]}"
        say "stopped"
    fi
    rm -f "$PID_DIR"/busbar-*
}
