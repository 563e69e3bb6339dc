# The hosts and groups of the files that -f names, else of the default file: see ruptime(1).
_ruptime_hosts() {
    local file index
    local -a files hosts
    for ((index = 2; index < CURRENT; index++)); do
        case ${words[index]} in
            (-f | --hosts-file) files+=(${${(Q)words[index + 1]}/#\~\//$HOME/}) ;;
            (--hosts-file=*) files+=(${${(Q)words[index]#--hosts-file=}/#\~\//$HOME/}) ;;
        esac
    done
    if ((! $#files)); then
        for file in ${XDG_CONFIG_HOME:-$HOME/.config}/ruptime/hosts /etc/ruptime/hosts; do
            [[ -f $file ]] && files=($file) && break
        done
    fi
    hosts=(${(f)"$(for file in $files; do
        [[ -f $file && -r $file ]] && cat -- $file
    done | awk '
@AWK@')"})
    compadd -a hosts
}
