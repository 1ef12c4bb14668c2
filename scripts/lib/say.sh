# shellcheck shell=bash
# What every script says and how: progress with elapsed seconds, failures in words with the place of their log.

STATE_DIR="${ROOT:?the script that reads this sets ROOT}/.busbar"
LOG_DIR="$STATE_DIR/logs"

# Makes the folder of state, which holds keys and passwords and so is its owner's alone.
open_state() {
    mkdir -p "$STATE_DIR"
    chmod 700 "$STATE_DIR"
    mkdir -p "$LOG_DIR" "$STATE_DIR/pids"
}

# say TEXT: one line of progress.
say() {
    printf '[%4ds] %s\n' "$SECONDS" "$*"
}

# die WHAT [WHAT_TO_DO...]: ends the script, each text on its own line.
die() {
    printf '[%4ds] FAILED: %s\n' "$SECONDS" "$1" >&2
    shift
    local line
    for line in "$@"; do
        printf '        %s\n' "$line" >&2
    done
    exit 1
}

# show_end FILE [LINES]: the end of a log, indented, to stderr.
show_end() {
    [[ -s $1 ]] || return 0
    printf '        --- the end of %s\n' "${1#"$ROOT"/}" >&2
    tail -n "${2:-20}" "$1" | sed 's/^/        | /' >&2
}

# Reads a long command's output and shows its latest line every 15 seconds.
narrate() {
    local line latest='' status said=$SECONDS
    while true; do
        if IFS= read -r -t 5 line; then
            [[ -z ${line// /} ]] || latest=$line
        else
            status=$?
            ((status > 128)) || break
        fi
        if ((SECONDS - said >= 15)); then
            said=$SECONDS
            say "  still at it: ${latest:0:100}"
        fi
    done
}

# run_long LOG COMMAND...: a command that takes minutes. On a terminal it shows its own progress; elsewhere its output
# goes to the log and a line is printed every 15 seconds.
run_long() {
    local log=$LOG_DIR/$1.log
    shift
    if [[ -t 1 && -t 2 ]]; then
        "$@"
    elif "$@" 2>&1 </dev/null | tee "$log" | narrate; then
        return 0
    else
        show_end "$log" 40
        return 1
    fi
}
