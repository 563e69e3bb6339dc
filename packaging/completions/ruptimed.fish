complete -c ruptimed -s l -l listen -d 'Bind this instead of inheriting sockets: PORT, HOST:PORT, [V6]:PORT, udp:HOST:PORT, unix:PATH or unix:@NAME (repeatable)' -r
complete -c ruptimed -l handoff -d 'How a stream client is answered' -r -f -a "exec\t'each connection becomes the standard output of a command of its own'
capture\t'one run of the command answers everybody who waits'"
complete -c ruptimed -l max-age -d 'With capture and datagrams: an answer no older than this may be given without a new run; 0 is never older than the question' -r
complete -c ruptimed -s c -l max-children -d 'Run at most N commands at once, and one more for those who share a run; beyond it the backlog holds the clients' -r
complete -c ruptimed -l max-per-source -d 'Connections at once from one address (an IPv4 address, an IPv6 /64) [default: no limit]' -r
complete -c ruptimed -l child-timeout -d 'The time a command has; then its process group is killed' -r
complete -c ruptimed -l idle-timeout -d 'Leave when nobody asked for so long; only with inherited sockets [default: never]' -r
complete -c ruptimed -l allow -d 'Answer only these addresses, in CIDR notation; UNIX sockets always (repeatable) [default: everyone]' -r
complete -c ruptimed -l rate-limit -d 'Datagram replies a second to one source (an IPv4 /24, an IPv6 /56), and N times 512 bytes; 0 is no limit' -r
complete -c ruptimed -l socket-mode -d 'The mode of the socket file, in octal; only with --listen unix:PATH [default: 0777 less the umask]' -r
complete -c ruptimed -l socket-group -d 'The group of the socket file, a name or a number; only with --listen unix:PATH [default: the daemon\'s own]' -r
complete -c ruptimed -l log-level -d 'The least severe records to write' -r -f -a "error\t'the daemon, or a command, cannot do its work'
warning\t'something is wrong, and the daemon goes on'
notice\t'start, end, and what an administrator wants to see once'
info\t'each request, and who was refused'
debug\t'what clients did wrong'"
complete -c ruptimed -s i -l inetd -d 'The socket is standard input, as inetd, xinetd, socat and StandardInput=socket pass it'
complete -c ruptimed -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ruptimed -s V -l version -d 'Print version'
