# shellcheck shell=bash
# What may be depended on: one registry only, known licences only, none of the libraries that a chosen one replaces.
# The same rules as in .deny.toml, for machines without cargo-deny.

# list_of KEY: the quoted words of an array in .deny.toml.
list_of() {
    sed -n "/^$1 = \[/,/^\]/p" .deny.toml | grep -v '^ *#' | grep -o '"[^"]*"' | tr -d '"'
}

# refused_licences PERMITTED: of lines "name version|SPDX expression", those that no permitted choice satisfies.
refused_licences() {
    # An expression becomes one of zeros and ones, which is then reduced: AND binds before OR, as SPDX says.
    awk -F '|' -v permitted="$1" '
        BEGIN { count = split(permitted, names, "\n"); for (i = 1; i <= count; i++) allowed[names[i]] = 1 }
        {
            expression = $2
            gsub(/ *\/ */, " OR ", expression)
            gsub(/ WITH /, "+WITH+", expression)
            gsub(/\(/, " ( ", expression)
            gsub(/\)/, " ) ", expression)
            words = split(expression, word, " ")
            sum = ""
            for (i = 1; i <= words; i++) {
                name = word[i]
                gsub(/\+WITH\+/, " WITH ", name)
                if (name !~ /^(AND|OR|\(|\))$/) name = (name in allowed) ? "1" : "0"
                sum = sum " " name
            }
            sum = sum " "
            do {
                before = sum
                while (gsub(/ 1 AND 1 /, " 1 ", sum) + gsub(/ (0 AND [01]|1 AND 0) /, " 0 ", sum)) {}
                while (match(sum, /(\( |^ )[01]( OR [01])+( \)| $)/)) {
                    part = substr(sum, RSTART, RLENGTH)
                    inner = (part ~ /1/) ? "1" : "0"
                    sum = substr(sum, 1, RSTART - 1) ((part ~ /^\(/) ? inner : " " inner " ") substr(sum, RSTART + RLENGTH)
                }
                gsub(/\( 0 \)/, "0", sum)
                gsub(/\( 1 \)/, "1", sum)
            } while (sum != before)
            if (sum !~ /^ *1 *$/) print $1 ": " ($2 == "" ? "no licence" : $2)
        }'
}

dependencies() {
    local tree refused banned foreign
    foreign=$(grep -E '^source = ' Cargo.lock | sort -u | grep -v '^source = "registry+' || true)
    [[ -z $foreign ]] || die "Cargo.lock has dependencies from elsewhere than a registry" "$foreign"
    [[ $(grep -E '^source = ' Cargo.lock | sort -u | wc -l) -le 1 ]] || die "Cargo.lock names more than one registry" ""
    tree=$(cargo tree --workspace --locked --target all --edges normal,build,dev --prefix none --format '{p}|{l}') ||
        die "the dependencies cannot be listed" "If Cargo.lock is out of date, run: cargo update --workspace"
    tree=$(sed -E '/^$/d; / \(\/[^|]*\)\|/d; s/ \(proc-macro\)//; s/ \(\*\)$//' <<<"$tree" | sort -u)
    refused=$(refused_licences "$(list_of allow)" <<<"$tree")
    [[ -z $refused ]] || die "dependencies with a licence that .deny.toml does not allow" "$refused"
    banned=$(list_of deny | while read -r name; do grep -E "^$name v" <<<"$tree" || true; done)
    [[ -z $banned ]] || die "dependencies that .deny.toml bans" "$banned"
    say "  $(wc -l <<<"$tree") dependencies, all from one registry"
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny --locked check bans licenses sources || die "cargo-deny has objections" "They are above."
    else
        say "  cargo-deny is not there; its rules on licences, bans and sources were checked by this script"
    fi
}
