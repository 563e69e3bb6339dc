# Built with the archive's crates (librust-*-dev), by way of dh-cargo's wrapper of cargo, which wants the
# variables here, sees to stripping, paths and hardening, and adds --target. dh's own build system "cargo"
# makes one package with all programs of a crate, and we need two.

DPKG_EXPORT_BUILDFLAGS = 1
include /usr/share/dpkg/buildflags.mk
include /usr/share/dpkg/pkg-info.mk
include /usr/share/rustc/architecture.mk
export DEB_BUILD_GNU_TYPE DEB_HOST_GNU_TYPE DEB_HOST_RUST_TYPE
export DEB_CARGO_CRATE = ruptime_$(DEB_VERSION_UPSTREAM)
# With exactly this name: otherwise the wrapper is none.
export CARGO_HOME = $(CURDIR)/debian/cargo_home
CARGO = /usr/share/cargo/bin/cargo
# What is built in is told for each program, so each has a directory of its own.
CLIENT = target/client/$(DEB_HOST_RUST_TYPE)/release
DAEMON = target/daemon/$(DEB_HOST_RUST_TYPE)/release

# Cargo.lock names the versions of crates.io.
configure:
	[ ! -e Cargo.lock ] || mv Cargo.lock debian/Cargo.lock
	$(CARGO) prepare-debian debian/cargo_registry --link-from-system

build-programs:
	$(CARGO) build --release --no-default-features --features client --bin ruptime --target-dir target/client
	$(CARGO) build --release --no-default-features --features daemon --bin ruptimed --target-dir target/daemon

built-using:
	CARGO_BUILT_USING_TARGET_DIR=$(CLIENT) /usr/share/cargo/bin/dh-cargo-built-using ruptime-rs
	CARGO_BUILT_USING_TARGET_DIR=$(DAEMON) /usr/share/cargo/bin/dh-cargo-built-using ruptimed-rs
