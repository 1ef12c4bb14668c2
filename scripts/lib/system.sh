# shellcheck shell=bash
# What is asked of the machine: root, the distribution's packages, who holds a port.

# as_root COMMAND...: runs it as root, or says no without root and sudo.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
        sudo "$@"
    else
        return 1
    fi
}

# as_user USER COMMAND...: runs it as a service's own user.
as_user() {
    local user=$1
    shift
    if ((EUID == 0)); then
        (cd / && runuser -u "$user" -- "$@")
    else
        (cd / && as_root -u "$user" "$@")
    fi
}

# Whether packages can be installed here.
can_install() {
    command -v apt-get >/dev/null && as_root true
}

# install_packages NAME...: installs the distribution's packages; false where that cannot be.
install_packages() {
    can_install || return 1
    say "installing $* with apt-get (log: .busbar/logs/apt.log)"
    run_long apt as_root env DEBIAN_FRONTEND=noninteractive bash -c '
        apt-get update -q && apt-get install -y -q --no-install-recommends "$@"' install "$@"
}

# port_open HOST PORT: whether anything accepts connections.
port_open() {
    # shellcheck disable=SC2016 # The inner shell expands these.
    timeout 3 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>/dev/null
}

# first_byte HOST PORT FORMAT: sends the bytes that printf makes of FORMAT and prints the answer's first byte in hex.
first_byte() {
    # shellcheck disable=SC2016 # The inner shell expands these.
    timeout 5 bash -c '
        exec 3<>"/dev/tcp/$0/$1" || exit 1
        printf "$2" >&3
        head -c 1 <&3 | od -An -tx1 | tr -d " \n"' "$1" "$2" "$3" 2>/dev/null || true
}

# Whether PostgreSQL answers: it says S or N to a request for TLS.
speaks_postgres() {
    [[ $(first_byte "$1" "$2" '\x00\x00\x00\x08\x04\xd2\x16\x2f') == @(53|4e) ]]
}

# Whether RabbitMQ answers: it says Connection.Start, a method frame, to the protocol's header.
speaks_amqp() {
    [[ $(first_byte "$1" "$2" 'AMQP\x00\x00\x09\x01') == 01 ]]
}

# http_get ADDRESS PATH: prints "<status> <body>" of a plain HTTP GET; nothing when nobody answers.
http_get() {
    # shellcheck disable=SC2016 # The inner shell expands these.
    timeout 3 bash -c '
        exec 3<>"/dev/tcp/${0%:*}/${0##*:}" || exit 1
        printf "GET %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" "$1" "$0" >&3
        read -r -u 3 _ status _
        while IFS= read -r -u 3 line && [[ $line != $'"'\\\\r'"' ]]; do :; done
        printf "%s %s" "$status" "$(tr -d "\000\r" <&3)"' "$1" "$2" 2>/dev/null || true
}

# port_holder PORT: prints the process id that listens on it; "unknown" where that is not ours to see; nothing if free.
port_holder() {
    local inode pid
    inode=$(awk -v port="$(printf ':%04X' "$1")" \
        '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    [[ -n $inode ]] || return 0
    pid=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1 | cut -d / -f 3 || true)
    printf '%s' "${pid:-unknown}"
}
