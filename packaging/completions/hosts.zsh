# The hosts of the files that -f names, else of the default file: see ruptime(1).
_ruptime_hosts() {
    local file line index
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
    for file in $files; do
        [[ -f $file && -r $file ]] || continue
        while IFS= read -r line || [[ -n $line ]]; do
            line=${line%%[[:blank:]]\#*}
            line=${line//[[:space:]]/}
            [[ $line == [][A-Za-z0-9._:%/@-]## ]] && hosts+=($line)
        done <$file
    done
    compadd -a hosts
}
