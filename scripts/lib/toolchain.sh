# shellcheck shell=bash
# What it takes to build: Rust, a C compiler, and nextest for the tests.

RUST_AT_LEAST=1.94
NEXTEST_VERSION=0.9.143

# Finds cargo and a C compiler, or says how to get them.
ensure_toolchain() {
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH="$HOME/.cargo/bin:$PATH"
    fi
    command -v cargo >/dev/null || die "there is no Rust toolchain (cargo is not on the PATH)" \
        "Install Rust $RUST_AT_LEAST or later from https://rustup.rs and run this again."
    local version
    version=$(cargo --version | awk '{ print $2 }') || die "cargo does not run" "Try: cargo --version"
    if [[ $(printf '%s\n%s\n' "$RUST_AT_LEAST" "${version%%-*}" | sort -V | head -n 1) != "$RUST_AT_LEAST" ]]; then
        die "Rust $RUST_AT_LEAST or later is needed, and this is $version" "Update it: rustup update stable"
    fi
    if ! command -v cc >/dev/null; then
        install_packages build-essential || die "there is no C compiler (cc), which the cryptography library needs" \
            "Install one: apt-get install build-essential"
    fi
}

# Where cargo puts the programs.
program_dir() {
    local folder
    folder=$(cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    [[ -n $folder ]] || die "cargo does not say where it builds" "Try: cargo metadata --no-deps"
    printf '%s/debug' "$folder"
}

# Builds every program of the workspace in the dev profile, which the tests share.
build_programs() {
    say "building the programs (the first time takes several minutes; log: .busbar/logs/build.log)"
    run_long build cargo build --workspace --bins --locked ||
        die "the build failed" "The compiler's words are above; run: cargo build --workspace --bins"
    say "built"
}

# Finds nextest, or builds it once into .busbar/tools; false where that cannot be.
ensure_nextest() {
    if cargo nextest --version >/dev/null 2>&1; then
        return 0
    fi
    PATH="$STATE_DIR/tools/bin:$PATH"
    if cargo nextest --version >/dev/null 2>&1; then
        return 0
    fi
    say "building cargo-nextest $NEXTEST_VERSION, once (log: .busbar/logs/nextest-install.log)"
    # Not optimised, since it builds in a third of the time and only waits for tests.
    run_long nextest-install cargo install --quiet --locked --debug --root "$STATE_DIR/tools" --no-default-features \
        --features default-no-update --version "$NEXTEST_VERSION" cargo-nextest
}
