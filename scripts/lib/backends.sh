# shellcheck shell=bash
# Makes PostgreSQL and RabbitMQ available: what the environment names, else what answers on this machine, else Docker,
# else the distribution's packages. Exports BUSBAR_DATABASE__URL and BUSBAR_BROKER__URL.

COMPOSE_FILE="$ROOT/deploy/compose.yaml"
# Encrypting a loopback connection costs CPU and protects nothing.
COMPOSE_DATABASE_URL='postgres://postgres:busbar@127.0.0.1:5432/busbar?sslmode=disable'
TRUSTED_DATABASE_URL='postgres://postgres@127.0.0.1:5432/busbar?sslmode=disable'
GUEST_BROKER_URL=amqp://guest:guest@127.0.0.1:5672/%2f
SAVED_DATABASE_URL="$STATE_DIR/database.url"

# Makes both available.
ensure_backends() {
    ensure_postgres
    ensure_rabbitmq
}

# setting_of VARIABLE: its value, or the content of the file that VARIABLE_FILE names.
setting_of() {
    local file_variable=${1}_FILE
    if [[ -n ${!1:-} ]]; then
        printf '%s' "${!1}"
    elif [[ -n ${!file_variable:-} ]]; then
        cat "${!file_variable}" || die "$file_variable names a file that cannot be read: ${!file_variable}"
    fi
}

# with_database URL NAME: the same server, another database.
with_database() {
    local address=${1%%\?*} query=''
    [[ $1 != *\?* ]] || query="?${1#*\?}"
    local rest=${address#*://}
    printf '%s://%s/%s%s' "${address%%://*}" "${rest%%/*}" "$2" "$query"
}

# without_password URL: fit to be printed.
without_password() {
    sed -E 's#://([^:@/]*):[^@/]*@#://\1:***@#' <<<"$1"
}

# query URL SQL: its answer; false with the server's words on stderr.
query() {
    PGCONNECT_TIMEOUT=5 psql -X -w -qAt -v ON_ERROR_STOP=1 "$1" -c "$2"
}

# ensure_database URL: the database that the URL names is there; false with the reason on stderr.
ensure_database() {
    local address=${1%%\?*} server
    local name=${address##*/}
    query "$1" 'select 1' >/dev/null 2>&1 && return 0
    server=$(with_database "$1" postgres)
    query "$server" 'select 1' >/dev/null || return 1
    say "creating the database $name"
    query "$server" "create database \"${name//\"/}\""
}

ensure_postgres() {
    local url reason
    url=$(setting_of BUSBAR_DATABASE__URL)
    if [[ -n $url ]]; then
        say "PostgreSQL: $(without_password "$url"), as the environment says"
        if command -v psql >/dev/null && ! reason=$(ensure_database "$url" 2>&1); then
            die "BUSBAR_DATABASE__URL cannot be used: $reason"
        fi
    else
        if ! speaks_postgres 127.0.0.1 5432; then
            ! port_open 127.0.0.1 5432 || die "what listens on 127.0.0.1:5432 is not PostgreSQL" \
                "Stop it, or name another server: BUSBAR_DATABASE__URL=postgres://user:password@host:port/busbar"
            start_in_docker postgres || start_local_postgres
        fi
        url=$(local_database_url) || exit 1
        say "PostgreSQL: $(without_password "$url")"
    fi
    unset BUSBAR_DATABASE__URL_FILE
    export BUSBAR_DATABASE__URL=$url
}

# The URL by which the PostgreSQL of this machine lets us in, its database made if missing.
local_database_url() {
    local url
    if ! command -v psql >/dev/null && ! install_packages postgresql-client >&2; then
        # Without a client nothing can be tried out; the migration will tell.
        if in_docker postgres; then
            printf '%s' "$COMPOSE_DATABASE_URL"
        else
            printf '%s' "$TRUSTED_DATABASE_URL"
        fi
        return 0
    fi
    for url in "$(cat "$SAVED_DATABASE_URL" 2>/dev/null || true)" "$TRUSTED_DATABASE_URL" "$COMPOSE_DATABASE_URL"; do
        if [[ -n $url ]] && ensure_database "$url" >&2 2>/dev/null; then
            printf '%s' "$url"
            return 0
        fi
    done
    if ! url=$(make_role) || ! ensure_database "$url" >&2; then
        die "PostgreSQL on 127.0.0.1:5432 lets nobody in that we know" \
            "Name a user that may create databases: BUSBAR_DATABASE__URL=postgres://user:password@127.0.0.1:5432/busbar"
    fi
    printf '%s' "$url"
}

# Makes the role busbar with a password of its own, as the server's administrator, and keeps its URL.
make_role() {
    local password url
    password=$(od -An -N 24 -tx1 /dev/urandom | tr -d ' \n')
    url="postgres://busbar:$password@127.0.0.1:5432/busbar?sslmode=disable"
    as_user postgres psql -X -q -v ON_ERROR_STOP=1 >&2 <<SQL || return 1
do \$\$ begin
    if not exists (select from pg_roles where rolname = 'busbar') then create role busbar; end if;
end \$\$;
alter role busbar login createdb password '$password';
SQL
    (umask 077 && printf '%s\n' "$url" >"$SAVED_DATABASE_URL")
    printf '%s' "$url"
}

start_local_postgres() {
    if ! command -v pg_ctlcluster >/dev/null; then
        install_packages postgresql || command -v pg_ctlcluster >/dev/null || die "there is no PostgreSQL" \
            "Nothing answers on 127.0.0.1:5432, Docker does not run, and packages cannot be installed here" \
            "(that takes Debian or Ubuntu, and root or sudo)." \
            "Name a server: BUSBAR_DATABASE__URL=postgres://user:password@host:port/busbar"
    fi
    if ! speaks_postgres 127.0.0.1 5432; then
        local cluster
        cluster=$(pg_lsclusters -h | awk '$3 == 5432 { print $1, $2; exit }')
        [[ -n $cluster ]] || die "PostgreSQL is installed, but none of its clusters has port 5432" \
            "See pg_lsclusters; make one: pg_createcluster <version> main"
        say "starting PostgreSQL ($cluster)"
        # shellcheck disable=SC2086 # Version and name are two words.
        as_root pg_ctlcluster $cluster start || true
    fi
    wait_until speaks_postgres 5432 30 || die "PostgreSQL does not come up" "Its log: /var/log/postgresql/"
}

ensure_rabbitmq() {
    local url
    url=$(setting_of BUSBAR_BROKER__URL)
    if [[ -n $url ]]; then
        say "RabbitMQ: $(without_password "$url"), as the environment says"
    else
        if ! speaks_amqp 127.0.0.1 5672; then
            if ! port_open 127.0.0.1 5672; then
                start_in_docker rabbitmq || start_local_rabbitmq
            elif ! wait_until speaks_amqp 5672 30; then # It listens before it has booted.
                die "what listens on 127.0.0.1:5672 is not RabbitMQ" \
                    "Stop it, or name another broker: BUSBAR_BROKER__URL=amqp://user:password@host:port/%2f"
            fi
        fi
        url=$GUEST_BROKER_URL
        say "RabbitMQ: $(without_password "$url")"
    fi
    unset BUSBAR_BROKER__URL_FILE
    export BUSBAR_BROKER__URL=$url
}

start_local_rabbitmq() {
    local server=/usr/sbin/rabbitmq-server
    if [[ ! -x $server ]]; then
        install_packages rabbitmq-server || [[ -x $server ]] || die "there is no RabbitMQ" \
            "Nothing answers on 127.0.0.1:5672, Docker does not run, and packages cannot be installed here" \
            "(that takes Debian or Ubuntu, and root or sudo)." \
            "Name a broker: BUSBAR_BROKER__URL=amqp://user:password@host:port/%2f"
    fi
    # A package's own start takes a moment; where there is no init it never comes.
    if [[ -d /run/systemd/system ]]; then
        as_root systemctl start rabbitmq-server || true
    elif ! wait_until speaks_amqp 5672 5; then
        say "starting RabbitMQ"
        local node=()
        # Erlang wants a host name that resolves.
        getent hosts "$(uname -n | cut -d . -f 1)" >/dev/null || node=(env RABBITMQ_NODENAME=rabbit@localhost)
        as_root "${node[@]}" setsid "$server" -detached </dev/null >"$LOG_DIR/rabbitmq.log" 2>&1 || true
    fi
    wait_until speaks_amqp 5672 90 ||
        die "RabbitMQ does not come up" "Its logs: /var/log/rabbitmq/ and .busbar/logs/rabbitmq.log"
}

# The fault tests start and kill servers of their own, so their programs must be on this machine, whatever else is used.
ensure_server_programs() {
    local missing=()
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
    command -v rabbitmq-server >/dev/null || [[ -x /usr/sbin/rabbitmq-server ]] || missing+=(rabbitmq-server)
    if ((${#missing[@]} > 0)) && ! install_packages "${missing[@]}"; then
        say "the packages ${missing[*]} are not on this machine: the fault tests, which start their own servers, will fail"
    fi
}

# What the samples on the systems' own pages are written in: the tests run them as they stand there.
ensure_sample_programs() {
    local missing=()
    command -v curl >/dev/null || missing+=(curl)
    command -v openssl >/dev/null || missing+=(openssl)
    command -v node >/dev/null || missing+=(nodejs)
    command -v python3 >/dev/null || missing+=(python3)
    python3 -c 'import requests' 2>/dev/null || missing+=(python3-requests)
    if ((${#missing[@]} > 0)) && ! install_packages "${missing[@]}"; then
        say "the packages ${missing[*]} are not on this machine: the tests of the pages' samples will fail"
    fi
}

# wait_until PROBE PORT SECONDS: false if the probe of that port on this machine does not succeed in time.
wait_until() {
    local until=$((SECONDS + $3))
    until "$1" 127.0.0.1 "$2"; do
        ((SECONDS < until)) || return 1
        sleep 0.5
    done
}

docker_works() {
    command -v docker >/dev/null && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

# Whether our own container of that name runs.
in_docker() {
    docker_works && [[ -n $(docker compose -f "$COMPOSE_FILE" ps --status running -q "$1" 2>/dev/null) ]]
}

# start_in_docker SERVICE: false where Docker does not run or cannot get the image.
start_in_docker() {
    docker_works || return 1
    say "starting $1 with Docker (log: .busbar/logs/docker.log)"
    if run_long docker docker compose -f "$COMPOSE_FILE" up -d --wait "$1"; then
        touch "$STATE_DIR/docker"
    else
        say "Docker could not start $1; trying the distribution's package"
        docker compose -f "$COMPOSE_FILE" rm -sf "$1" >/dev/null 2>&1 || true
        return 1
    fi
}
