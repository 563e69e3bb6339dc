_ruptime_options() {
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
                cmd="ruptime"
                ;;
            *)
                ;;
        esac
    done

    case "${cmd}" in
        ruptime)
            opts="-p -4 -6 -f -x -o -l -t -u -n -r -a -j -w -h -V --udp --ssh --port --timeout --deadline --wait --rebooted --hosts-file --exclude --discover --where --warning --critical --output --reverse --summary --no-memory --jobs --watch --color --help --version"
            if [[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]] ; then
                COMPREPLY=( $(compgen -W "${opts}" -- "${cur}") )
                return 0
            fi
            case "${prev}" in
                --port)
                    return 0
                    ;;
                -p)
                    return 0
                    ;;
                --timeout)
                    return 0
                    ;;
                --deadline)
                    return 0
                    ;;
                --wait)
                    return 0
                    ;;
                --hosts-file)
                    compopt -o default
                    return 0
                    ;;
                -f)
                    compopt -o default
                    return 0
                    ;;
                --exclude)
                    return 0
                    ;;
                -x)
                    return 0
                    ;;
                --where)
                    return 0
                    ;;
                --warning)
                    return 0
                    ;;
                --critical)
                    return 0
                    ;;
                --output)
                    COMPREPLY=($(compgen -W "text table json jsonl openmetrics nagios" -- "${cur}"))
                    return 0
                    ;;
                -o)
                    COMPREPLY=($(compgen -W "text table json jsonl openmetrics nagios" -- "${cur}"))
                    return 0
                    ;;
                --jobs)
                    return 0
                    ;;
                -j)
                    return 0
                    ;;
                --watch)
                    return 0
                    ;;
                -w)
                    return 0
                    ;;
                --color)
                    COMPREPLY=($(compgen -W "auto always never" -- "${cur}"))
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
# Hosts files -> the words that can be asked: hosts, ranges written out, groups. Only words that a
# host may be made of, so that nothing in a file is ever run or expanded by a shell.
function say(word) {
    if (said++ < 10000) print word
}
function item(word,    before, after, ranges, count, i, step, ends, first, last, width) {
    # A bracket with a colon in it is an IPv6 address; a path has no ranges.
    if (word ~ /^unix:/ || !match(word, /\[[0-9][0-9,\/-]*\]/)) {
        if (word !~ /^[^:]*\[[^:]*$/) say(word)
        return
    }
    before = substr(word, 1, RSTART - 1)
    after = substr(word, RSTART + RLENGTH)
    count = split(substr(word, RSTART + 1, RLENGTH - 2), ranges, ",")
    for (i = 1; i <= count; i++) {
        step = split(ranges[i], ends, "/") > 1 ? ends[2] + 0 : 1
        last = split(ends[1], ends, "-") > 1 ? ends[2] : ends[1]
        first = ends[1]
        width = length(first)
        for (; step > 0 && first + 0 <= last + 0 && said < 10000; first += step)
            item(before sprintf("%0" width "d", first) after)
    }
}
{
    sub(/^\357\273\277/, "")
    sub(/(^|[ \t])#.*/, "")
    gsub(/^[ \t]+|[ \t\r]+$/, "")
    if ($0 ~ /^\[[A-Za-z0-9._-]+\]$/) {
        say("@" substr($0, 2, length($0) - 2))
    } else if ($0 ~ /^unix:[][A-Za-z0-9._:%,\/@-]+$/) {
        say($0)
    } else if ($0 ~ /^[][A-Za-z0-9._:%,\/@-]+$/) {
        # Commas outside of brackets part a list.
        for (rest = $0; match(rest, /^([^[,]|\[[^]]*\])*,/); rest = substr(rest, length(first) + 2)) {
            first = substr(rest, 1, RLENGTH - 1)
            item(first)
        }
        item(rest)
    }
}
'
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
        -p | --port | --timeout | --deadline | --wait | -f | --hosts-file | --where | --warning | --critical | -o | --output | -j | --jobs | --color)
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
