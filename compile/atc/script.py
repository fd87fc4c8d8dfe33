"""The shell script that runs a call of ATC on a machine with CANN."""

from graphopt.compile.atc.invocation import AtcInvocation

_TEMPLATE = """\
#!/usr/bin/env bash
# Compiles {model} for {soc} into {om}.
# Run it on a machine with CANN; keep it where it is, relative to the files it names.
set -euo pipefail
cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")"

if ! command -v atc > /dev/null; then
    for place in "${{ASCEND_TOOLKIT_HOME:-}}" {{"$HOME",/usr/local}}/Ascend/ascend-toolkit; do
        if [[ -f "$place/set_env.sh" ]]; then
            set +u  # the vendor's file reads variables that may be unset
            # shellcheck disable=SC1091
            source "$place/set_env.sh"
            set -u
            break
        fi
    done
fi
if ! command -v atc > /dev/null; then
    echo "atc is not on the PATH: install the CANN toolkit, or source its set_env.sh first" >&2
    exit 3
fi

started=$(mktemp)
trap 'rm -f -- "$started"' EXIT
{command}

# ATC has been seen to return 0 without a result.
if [[ ! -s "{om}" || "{om}" -ot "$started" ]]; then
    echo "atc returned 0 but did not write {om}" >&2
    exit 4
fi
echo "compiled {om}"
"""


def script_of(call: AtcInvocation) -> str:
    """Return the script for a checked call whose paths are relative to the script's folder."""
    om = call.output.with_name(call.output.name + ".om").as_posix()
    return _TEMPLATE.format(
        model=call.model.as_posix(), soc=call.soc_version, om=om, command=call.command_line()
    )
