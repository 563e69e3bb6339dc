complete -c ruptime -s p -l port -d 'Ask this port: a number or a service name [default: ruptime, else 10513]' -r -f
complete -c ruptime -l timeout -d 'Time for one host, from the first connect or send to the last byte' -r -f
complete -c ruptime -l deadline -d 'Time for the whole call: hosts that have not answered by then are down' -r -f
complete -c ruptime -l wait -d 'Retry a host that does not answer, for up to SECONDS, pausing 1, 2, 4… seconds' -r -f
complete -c ruptime -s f -l hosts-file -d 'Read hosts from FILE, one a line, # comments; - is standard input' -r -F
complete -c ruptime -s x -l exclude -d 'Leave these hosts out: HOST in any form, ranges, lists and @GROUP' -r -f -a "(__ruptime_hosts)"
complete -c ruptime -l where -d 'Print only hosts of which COND holds: up, down, error, rebooted, uptime>365d, load5>=16, !up' -r -f
complete -c ruptime -l warning -d 'With -o nagios: the state is WARNING where COND holds of some host' -r -f
complete -c ruptime -l critical -d 'With -o nagios: the state is CRITICAL where COND holds of some host, or a host is not up' -r -f
complete -c ruptime -s o -l output -d 'How to print; a table with -f [default: text for one host, table for more]' -r -f -a "text\t'The reply as it came'
table\t'A line for each host, as BSD\'s ruptime has it'
json\t'One array'
jsonl\t'One object a line, as each host answers'
openmetrics\t'One scrape\'s worth of metrics'
nagios\t'A monitoring plugin\'s answer'"
complete -c ruptime -s j -l jobs -d 'Ask at most N hosts at once [default: what the descriptor limit allows, at most 4096]' -r -f
complete -c ruptime -s w -l watch -d 'Ask again every SECONDS, redrawing in place on a terminal (q leaves); -w5 or --watch=5' -r -f
complete -c ruptime -l color -d 'Colour the table' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Even into a pipe or a file'
never\t'Not at all'"
complete -c ruptime -l udp -d 'Use datagrams for every host named without a scheme'
complete -c ruptime -l ssh -d 'Use ssh for every host named without a scheme: it runs uptime there'
complete -c ruptime -s 4 -d 'Use IPv4 only'
complete -c ruptime -s 6 -d 'Use IPv6 only'
complete -c ruptime -l rebooted -d 'With --wait: count only an answer whose boot is later than this call'
complete -c ruptime -l discover -d 'Ask the local networks by broadcast and multicast, and list the machines that answer'
complete -c ruptime -s l -d 'Sort by load, the highest first'
complete -c ruptime -s t -d 'Sort by uptime, the longest first'
complete -c ruptime -s u -d 'Sort by the number of users, the most first'
complete -c ruptime -s n -d 'Sort by name'
complete -c ruptime -s r -l reverse -d 'Reverse the order'
complete -c ruptime -s a -d 'Do nothing: BSD\'s ruptime leaves idle users out without it'
complete -c ruptime -l summary -d 'End the table with a line that counts the hosts'
complete -c ruptime -l no-memory -d 'Neither read nor write what was seen of the hosts before'
complete -c ruptime -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ruptime -s V -l version -d 'Print version'

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
end

complete -c ruptime -f -a '(__ruptime_hosts)'
