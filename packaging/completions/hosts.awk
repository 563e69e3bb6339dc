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
