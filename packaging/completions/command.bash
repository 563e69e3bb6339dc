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
        @VALUES@)
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
