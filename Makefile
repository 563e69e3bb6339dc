# ruptime: build, check, install, package. `make help` lists the targets.
#
#   make install DESTDIR= PREFIX=/usr/local PARTS='client daemon'
#
# INSTALLED_* below are the only lists of installed files; the packages use them too.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd/system
PRESETDIR ?= $(PREFIX)/lib/systemd/system-preset
CATALOGDIR ?= $(PREFIX)/lib/systemd/catalog
# firewalld reads /usr/lib and /etc, ufw only /etc. With another PREFIX nothing is installed outside it.
FIREWALLDDIR ?= $(PREFIX)/lib/firewalld/services
UFWDIR ?= $(if $(filter /usr /usr/,$(PREFIX)),,$(PREFIX))/etc/ufw/applications.d
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
# Debian's zsh looks in vendor-completions.
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
DOCDIR ?= $(PREFIX)/share/doc/ruptime

# The number of the systemd that will read the units: keys that older versions do not know depend on it.
SYSTEMD_VERSION ?= $(shell { pkg-config --modversion systemd || systemctl --version; } 2>/dev/null | \
	sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p')

CARGO ?= cargo
# The packages add --offline.
CARGOFLAGS ?= --locked
# Passed to cargo, whose own settings may name another directory.
TARGETDIR = $(or $(CARGO_TARGET_DIR),target)
BUILT = $(TARGETDIR)/release
BENCHDIR = $(or $(CARGO_TARGET_DIR),tests/bench/target)

# The parts to install, one for each package.
PARTS ?= client daemon
INSTALLED = $(foreach part,$(PARTS),$(INSTALLED_$(part)))

PROGRAM_client = $(BUILT)/ruptime
PROGRAM_daemon = $(BUILT)/ruptimed

# MODE:SOURCE:DESTINATION
INSTALLED_client = \
	755:$(PROGRAM_client):$(BINDIR)/ruptime \
	644:packaging/man/ruptime.1:$(MANDIR)/man1/ruptime.1 \
	644:packaging/completions/ruptime.bash:$(BASHDIR)/ruptime \
	644:packaging/completions/_ruptime:$(ZSHDIR)/_ruptime \
	644:packaging/completions/ruptime.fish:$(FISHDIR)/ruptime.fish \
	644:systemd/ruptime-metrics.timer:$(UNITDIR)/ruptime-metrics.timer \
	644:systemd/ruptime-metrics.service:$(UNITDIR)/ruptime-metrics.service \
	644:systemd/90-ruptime-metrics.preset:$(PRESETDIR)/90-ruptime-metrics.preset \
	644:README.md:$(DOCDIR)/README.md \
	644:packaging/nagios/ruptime.cfg:$(DOCDIR)/examples/nagios.cfg \
	644:packaging/nagios/ruptime.conf:$(DOCDIR)/examples/icinga.conf \
	644:packaging/prometheus/ruptime.rules.yml:$(DOCDIR)/examples/ruptime.rules.yml \
	644:packaging/prometheus/ruptime.rules.test.yml:$(DOCDIR)/examples/ruptime.rules.test.yml \
	644:packaging/prometheus/ruptime.dashboard.json:$(DOCDIR)/examples/ruptime.dashboard.json

INSTALLED_daemon = \
	755:$(PROGRAM_daemon):$(SBINDIR)/ruptimed \
	644:packaging/man/ruptimed.8:$(MANDIR)/man8/ruptimed.8 \
	644:packaging/man/ruptime.socket.8:$(MANDIR)/man8/ruptime.socket.8 \
	644:packaging/completions/ruptimed.bash:$(BASHDIR)/ruptimed \
	644:packaging/completions/_ruptimed:$(ZSHDIR)/_ruptimed \
	644:packaging/completions/ruptimed.fish:$(FISHDIR)/ruptimed.fish \
	644:systemd/ruptime.socket:$(UNITDIR)/ruptime.socket \
	644:systemd/ruptime.service:$(UNITDIR)/ruptime.service \
	644:systemd/ruptime-udp.socket:$(UNITDIR)/ruptime-udp.socket \
	644:systemd/ruptime-udp.service:$(UNITDIR)/ruptime-udp.service \
	644:systemd/ruptime-inetd.socket:$(UNITDIR)/ruptime-inetd.socket \
	644:systemd/ruptime-inetd@.service:$(UNITDIR)/ruptime-inetd@.service \
	644:systemd/90-ruptime.preset:$(PRESETDIR)/90-ruptime.preset \
	644:packaging/systemd/ruptime.catalog:$(CATALOGDIR)/ruptime.catalog \
	644:packaging/firewalld/ruptime.xml:$(FIREWALLDDIR)/ruptime.xml \
	644:packaging/firewalld/ruptime-udp.xml:$(FIREWALLDDIR)/ruptime-udp.xml \
	644:packaging/ufw/ruptime:$(UFWDIR)/ruptime \
	644:systemd/README.md:$(DOCDIR)/units.md

SCRIPTS = .ci/run .ci/timed packaging/dist packaging/build-deb packaging/build-rpm packaging/debian/tests/ask packaging/debian/ruptime-rs.postrm tests/common/lan tests/machines tests/needs tests/try tests/oldest-crates tests/oldest-rust tests/system/run tests/system/host.sh tests/packaging/run

.PHONY: help build run test check lint bench soak pictures install uninstall dist deb deb-archive rpm clean

help:
	@echo 'make run          build, start the daemon on a loopback port, ask it, stop it'
	@echo 'make build        build both programs for release'
	@echo 'make test         unit tests and integration tests; nothing is installed'
	@echo 'make check        every test (as root on Debian it installs what they need; half an hour)'
	@echo 'make lint         formatting, clippy, rustdoc, scripts, manual pages, dependencies'
	@echo 'make bench        measure against the limits and the peers (an hour; FLAGS=--smoke: minutes)'
	@echo 'make soak         every transport under load for minutes (SOAK_SECONDS=3600: a million answers)'
	@echo 'make install      install below $$(DESTDIR)$$(PREFIX); PREFIX is $(PREFIX)'
	@echo 'make uninstall    remove what install has installed'
	@echo 'make dist         the source tarballs, into dist/'
	@echo 'make deb          Debian packages, into dist/'
	@echo 'make deb-archive  the same, with the crates of Debian testing, and none of our own'
	@echo 'make rpm          RPMs, into dist/'
	@echo 'make clean        remove what was built'

build:
	$(CARGO) build $(CARGOFLAGS) --release --target-dir '$(TARGETDIR)'

run: build
	@tests/try '$(BUILT)'

# Files of tests/it that need other programs or much time: left to make check.
NEEDY = client_discover client_resolver client_ssh completions metrics nagios passed_descriptors

# Most of these tests wait most of the time.
test:
	$(CARGO) test $(CARGOFLAGS) --lib
	$(CARGO) test $(CARGOFLAGS) --test it -- --test-threads 8 $(patsubst %,--skip %::,$(NEEDY))

check:
	tests/needs
	$(CARGO) test $(CARGOFLAGS)
	$(CARGO) test $(CARGOFLAGS) --manifest-path tests/bench/Cargo.toml
	python3 -B -m unittest discover -s tests/bench -t tests/bench
	tests/machines

lint:
	tests/needs
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/bench/Cargo.toml
	$(CARGO) clippy $(CARGOFLAGS) --all-targets -- -D warnings
	$(CARGO) clippy $(CARGOFLAGS) --all-targets --manifest-path tests/bench/Cargo.toml -- -D warnings
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(CARGOFLAGS) --no-deps --document-private-items
	tests/oldest-rust
	tests/oldest-crates
	tests/dependencies
	shellcheck -x $(SCRIPTS)
	mandoc -Tlint -Wwarning packaging/man/*.[18]

# It names what it needs besides the packages of make check.
bench: build
	tests/bench/run $(FLAGS)

soak: build
	$(CARGO) build $(CARGOFLAGS) --release --manifest-path tests/bench/Cargo.toml --target-dir '$(BENCHDIR)'
	tests/soak/run '$(BUILT)/ruptimed' '$(BENCHDIR)/release/load'

pictures: build
	packaging/pictures/draw '$(BUILT)'

# The units name the programs in /usr; for another PREFIX they are rewritten. From systemd 258 on, the kernel
# can refuse descriptors that are passed to the UNIX sockets (with Linux 6.16 or newer).
install:
	@for program in $(foreach part,$(PARTS),$(PROGRAM_$(part))); do test -x "$$program" || { \
		echo "$$program is not built yet: run 'make build' first (not as root)" >&2; exit 1; }; done
	@set -e; systemd='$(SYSTEMD_VERSION)'; for file in $(INSTALLED); do \
		mode=$${file%%:*}; rest=$${file#*:}; source=$${rest%%:*}; dest='$(DESTDIR)'$${rest#*:}; \
		install -D -m "$$mode" "$$source" "$$dest"; \
		case $$dest in *.service) \
			sed -i -e 's|=/usr/sbin/ruptimed|=$(SBINDIR)/ruptimed|' -e t -e 's|=/usr/bin/ruptime|=$(BINDIR)/ruptime|' "$$dest";; \
		*.socket) \
			[ "$${systemd:-0}" -lt 258 ] || sed -i 's|^SocketMode=.*|&\nAcceptFileDescriptors=no|' "$$dest";; \
		esac; \
		echo "$$dest"; \
	done

uninstall:
	@for file in $(INSTALLED); do rest=$${file#*:}; rm -f '$(DESTDIR)'"$${rest#*:}"; done
	@rmdir '$(DESTDIR)$(DOCDIR)/examples' '$(DESTDIR)$(DOCDIR)' 2>/dev/null || :

dist:
	packaging/dist

deb: dist
	packaging/build-deb $(FLAGS)

deb-archive:
	packaging/dist --source
	packaging/build-deb --archive $(FLAGS)

rpm: dist
	packaging/build-rpm $(FLAGS)

clean:
	$(CARGO) clean --target-dir '$(TARGETDIR)'
	rm -rf dist
