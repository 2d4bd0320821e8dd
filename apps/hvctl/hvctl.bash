# SPDX-License-Identifier: BSD-3-Clause
# Completion of hvctl for bash: commands, options, and the devices that are there.

_hvctl() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= options= i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        list|bind|unbind|info|watch|ring|trace) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $before in
    --interval|--count|--channel) return ;;
    ring) [[ $command == ring && $i -eq $((COMP_CWORD - 1)) ]] && { mapfile -t COMPREPLY < <(compgen -W dump -- "$word"); return; } ;;
    esac
    case $command in
    '')
        mapfile -t COMPREPLY < <(compgen -W "list bind unbind info watch ring trace --help --version" -- "$word")
        return ;;
    list|info) options=--json ;;
    bind|unbind) options=--force ;;
    watch) options="--json --interval --count" ;;
    ring|trace) options="--count --channel --hex" ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$word")
    elif [[ $command != info ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(ls /sys/bus/vmbus/devices 2>/dev/null)" -- "$word")
    fi
}
complete -F _hvctl hvctl
