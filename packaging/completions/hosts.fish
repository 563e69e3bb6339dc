# The hosts and groups of the files that -f names, else of the default file: see ruptime(1).
function __ruptime_hosts
    set -l files
    set -l words (commandline -opc)
    for index in (seq 2 (count $words))
        switch $words[$index]
            case -f --hosts-file
                set -a files $words[(math $index + 1)]
            case '--hosts-file=*'
                set -a files (string replace -- '--hosts-file=' '' $words[$index])
        end
    end
    if not set -q files[1]
        set -l config $XDG_CONFIG_HOME
        test -n "$config"; or set config $HOME/.config
        for file in $config/ruptime/hosts /etc/ruptime/hosts
            if test -f $file
                set files $file
                break
            end
        end
    end
    for file in $files
        test -f $file -a -r $file; and cat -- $file
    end | awk '
@AWK@'
end

complete -c ruptime -f -a '(__ruptime_hosts)'
