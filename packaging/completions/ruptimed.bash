_ruptimed_options() {
    local i cur prev opts cmd
    COMPREPLY=()
    if [[ "${BASH_VERSINFO[0]}" -ge 4 ]]; then
        cur="$2"
    else
        cur="${COMP_WORDS[COMP_CWORD]}"
    fi
    prev="$3"
    cmd=""
    opts=""

    for i in "${COMP_WORDS[@]:0:COMP_CWORD}"
    do
        case "${cmd},${i}" in
            ",$1")
                cmd="ruptimed"
                ;;
            *)
                ;;
        esac
    done

    case "${cmd}" in
        ruptimed)
            opts="-l -i -c -h -V --listen --inetd --handoff --max-age --max-children --max-per-source --child-timeout --idle-timeout --allow --rate-limit --socket-mode --socket-group --log-level --help --version"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --listen)
                    return 0
                    ;;
                -l)
                    return 0
                    ;;
                --handoff)
                    COMPREPLY=($(compgen -W "exec capture" -- "${cur}"))
                    return 0
                    ;;
                --max-age)
                    return 0
                    ;;
                --max-children)
                    return 0
                    ;;
                -c)
                    return 0
                    ;;
                --max-per-source)
                    return 0
                    ;;
                --child-timeout)
                    return 0
                    ;;
                --idle-timeout)
                    return 0
                    ;;
                --allow)
                    return 0
                    ;;
                --rate-limit)
                    return 0
                    ;;
                --socket-mode)
                    return 0
                    ;;
                --socket-group)
                    return 0
                    ;;
                --log-level)
                    COMPREPLY=($(compgen -W "error warning notice info debug" -- "${cur}"))
                    return 0
                    ;;
                *)
                    COMPREPLY=()
                    ;;
            esac
            COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
            return 0
            ;;
    esac
}

_ruptimed() {
    local previous=${COMP_WORDS[COMP_CWORD - 1]} word
    # Bash splits words at equals signs.
    if [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    # COMMAND and its arguments: readline completes the names of files, and quotes them.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word == -- ]]; then
            COMPREPLY=()
            compopt -o default
            return
        fi
    done
    case $previous in
        -l | --listen | --handoff | --max-age | -c | --max-children | --max-per-source | --child-timeout | --idle-timeout | --allow | --rate-limit | --socket-mode | --socket-group | --log-level)
            local -a COMP_WORDS=(ruptimed "$previous" "${2#=}")
            local COMP_CWORD=2
            _ruptimed_options ruptimed "${2#=}" "$previous"
            return
            ;;
    esac
    COMPREPLY=()
    if [[ $2 == -* ]]; then
        _ruptimed_options "$@"
    fi
}

complete -o nosort -F _ruptimed ruptimed
