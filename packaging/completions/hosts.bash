# The hosts and groups of the files that -f names, else of the default file: see ruptime(1).
_ruptime_hosts() {
    local file line index
    local -a files=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
            -f | --hosts-file)
                file=${COMP_WORDS[index + 1]}
                # --hosts-file=FILE comes as three words.
                [[ $file == = ]] && file=${COMP_WORDS[index + 2]}
                files+=("${file/#\~\//$HOME/}")
                ;;
        esac
    done
    if ((${#files[@]} == 0)); then
        for file in "${XDG_CONFIG_HOME:-$HOME/.config}/ruptime/hosts" /etc/ruptime/hosts; do
            [[ -f $file ]] && files=("$file") && break
        done
    fi
    for file in "${files[@]}"; do
        [[ -f $file && -r $file ]] && cat -- "$file"
    done | awk '
@AWK@'
}

_ruptime() {
    local before=${COMP_LINE:0:COMP_POINT} previous=${COMP_WORDS[COMP_CWORD - 1]} host word
    # Bash splits words at colons and equals signs; a HOST has colons.
    word=${before##*[[:blank:]]}
    if [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
        word=${word#*=}
    fi
    case $previous in
        @VALUES@)
            local -a COMP_WORDS=(ruptime "$previous" "${2#=}")
            local COMP_CWORD=2
            _ruptime_options ruptime "${2#=}" "$previous"
            return
            ;;
    esac
    if [[ $word == -* ]]; then
        _ruptime_options "${COMP_WORDS[0]}" "$2" "$3"
        return
    fi
    COMPREPLY=()
    while IFS= read -r host; do
        [[ $host == "$word"* ]] && COMPREPLY+=("$host")
    done < <(_ruptime_hosts | sort -u)
    # Readline replaces what stands behind the last colon only.
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%:*}:"}")
    fi
    # Only unix:PATH is the name of a file, which readline completes and quotes.
    if [[ $word == unix:* && ${#COMPREPLY[@]} -eq 0 && $COMP_WORDBREAKS == *:* ]]; then
        compopt -o default
    fi
}

complete -o nosort -F _ruptime ruptime
