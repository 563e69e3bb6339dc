"""The benchmark's driver: starts servers, runs the load generator, keeps samples, writes the report.

process     starting and stopping, ports, what /proc says
servers     what is measured: our daemon, the floors, the textbook's servers
peers       other ways to put a command on a port, where they are installed
measure     one measurement: a fresh server, a load, a sample
sections    which measurements, in which order
weight      memory and start-up time
fleet       the client over many hosts, up to a million
names       the client over many names, and name servers far away
ssh         the client over machines that it asks by ssh
container   a real systemd: cold starts and units
report      samples to tables, ratios and goals
plot        samples to a picture
"""
