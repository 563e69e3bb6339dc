# Built with the crates in vendor/ and nothing else: neither a CARGO_HOME nor a .cargo in a directory above,
# over which the one here takes precedence.

export CARGO_HOME = $(CURDIR)/debian/cargo_home
# The same bytes, whatever the build directory is; debuggers show the path where sources would be installed.
export RUSTFLAGS = --remap-path-prefix=$(CURDIR)=/usr/src/ruptime-rs
# dh_strip moves symbols into a package of their own.
export CARGO_PROFILE_RELEASE_DEBUG = line-tables-only
export CARGO_PROFILE_RELEASE_STRIP = none
CARGO = cargo
CARGOFLAGS = --locked --offline
CLIENT = target/release
DAEMON = target/release
jobs = $(patsubst parallel=%,%,$(filter parallel=%,$(DEB_BUILD_OPTIONS)))
ifneq (,$(jobs))
export CARGO_BUILD_JOBS = $(lastword $(jobs))
endif

configure:
	install -D -m 644 packaging/cargo-config.toml .cargo/config.toml

build-programs:
ifneq ($(DEB_BUILD_ARCH),$(DEB_HOST_ARCH))
	$(error cross-building with vendored crates is not prepared; build on $(DEB_HOST_ARCH))
endif
	$(MAKE) build CARGOFLAGS='$(CARGOFLAGS)'

# No package of the archive's is built in.
built-using:
	for package in ruptime-rs ruptimed-rs; do \
		echo 'cargo:Static-Built-Using=' >>debian/$$package.substvars; done
