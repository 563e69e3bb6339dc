complete -c ruptimed -s l -l listen -d 'Bind ADDR instead of inheriting sockets: PORT, HOST:PORT, [V6]:PORT, udp:HOST:PORT, unix:PATH or unix:@NAME (repeatable)' -r -f
complete -c ruptimed -l handoff -d 'How to answer stream clients' -r -f -a "exec\t'each connection becomes the standard output of a command of its own'
capture\t'one run of the command answers everyone who waits'"
complete -c ruptimed -l max-age -d 'With capture and datagrams: reuse an answer for up to SECONDS; with 0 every answer is measured after its request' -r -f
complete -c ruptimed -s c -l max-children -d 'Run at most N commands at once, and one shared run besides; further clients wait in the backlog' -r -f
complete -c ruptimed -l max-per-source -d 'Serve at most N connections at once from one address (an IPv4 address or an IPv6 /64) [default: no limit]' -r -f
complete -c ruptimed -l child-timeout -d 'Stop a command and its process group after SECONDS' -r -f
complete -c ruptimed -l idle-timeout -d 'Exit after SECONDS without a request; only with inherited sockets [default: never]' -r -f
complete -c ruptimed -l allow -d 'Answer only clients in NET, in CIDR notation; UNIX sockets always (repeatable) [default: everyone]' -r -f
complete -c ruptimed -l rate-limit -d 'Send at most N datagrams, and N times 512 bytes, a second to one source (an IPv4 /24 or an IPv6 /56); 0 is no limit' -r -f
complete -c ruptimed -l socket-mode -d 'Mode of the socket file, in octal; only with --listen unix:PATH [default: 0777 less the umask]' -r -f
complete -c ruptimed -l socket-group -d 'Group of the socket file, by name or number; only with --listen unix:PATH [default: the daemon\'s own]' -r -f
complete -c ruptimed -l log-level -d 'Write records of this level and above' -r -f -a "error\t'the daemon, or a command, cannot do its work'
warning\t'something is wrong, and the daemon goes on'
notice\t'start, end, and what an administrator wants to see once'
info\t'each request, and who was refused'
debug\t'what clients did wrong'"
complete -c ruptimed -s i -l inetd -d 'Serve the socket on standard input, as inetd, xinetd, socat and StandardInput=socket pass it'
complete -c ruptimed -s h -l help -d 'Print help (see more with \'--help\')'
complete -c ruptimed -s V -l version -d 'Print version'
