# Sourced by the scripts beside it, from the root of the project: makes an environment ready for
# the extras in $EXTRAS and puts it first on PATH.
#
# The environment is $EXPERTISE_GRAPH_VENV, else the active one ($VIRTUAL_ENV), else .venv, made
# with python3.11 or a later one. Only one of our own making gets the exact versions of
# constraints.txt; in an active one, what is installed and recent enough stays as it is.
# Nothing is installed while setup.cfg, constraints.txt and starter-requirements.txt stay the same.

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no Python 3.11 or later with venv and ensurepip on PATH; install one, for example the package python3.11-venv"
    return 1
}

make_environment() {
    "$1/bin/python" -m pip --version >/dev/null 2>&1 && return
    local python
    python=$(find_python)
    say "making $1 with $python"
    "$python" -m venv --clear "$1"
}

install_into() {
    local venv=$1 constraints=() quiet=()
    [ "$own" = yes ] && constraints=(--constraint constraints.txt)
    [ -t 2 ] || quiet=(--quiet)
    # Of the modules that come along few are ever imported; those are compiled then, which halves the time.
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input install --no-compile "${quiet[@]}")
    say "installing expertise-graph${EXTRAS:+[$EXTRAS]} into $venv"
    # torch goes first and alone, so that the build chosen in pip's configuration is the one that stays.
    if [ "$own" = yes ]; then
        "${pip[@]}" "$(grep '^torch==' constraints.txt)" >&2
    fi
    "${pip[@]}" "${constraints[@]}" --editable ".${EXTRAS:+[$EXTRAS]}" >&2
    "${pip[@]}" --no-deps --requirement starter-requirements.txt >&2
}

fingerprint() {
    { printf '%s\n' "$PWD" "$EXTRAS"; cat setup.cfg constraints.txt starter-requirements.txt scripts/_environment.sh; } |
        "$1/bin/python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

prepare_environment() {
    # Where Python may not keep what it compiled, every command compiles all that it imports.
    unset PYTHONDONTWRITEBYTECODE
    local own=yes venv stamp
    if [ -n "${EXPERTISE_GRAPH_VENV-}" ]; then
        venv=$EXPERTISE_GRAPH_VENV
    elif [ -n "${VIRTUAL_ENV-}" ]; then
        venv=$VIRTUAL_ENV own=no
    else
        venv=$PWD/.venv
    fi
    make_environment "$venv"
    stamp=$venv/.expertise-graph-${EXTRAS//,/-}
    if [ "$(cat "$stamp" 2>/dev/null)" != "$(fingerprint "$venv")" ]; then
        install_into "$venv"
        fingerprint "$venv" >"$stamp"
    fi
    venv=$(cd "$venv" && pwd)
    export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}

prepare_environment
