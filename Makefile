# SPDX-License-Identifier: Apache-2.0
# hull's build: one Makefile, not recursive. Objects and programs go to build/, laid out as an
# installed tree (build/bin, build/libexec/hull), so that hull finds its helpers in both the same way.
# `make help` lists the targets.

VERSION := 0.1.0

PREFIX ?= /usr/local
BINDIR := $(PREFIX)/bin
LIBEXECDIR := $(PREFIX)/libexec/hull
MANDIR := $(PREFIX)/share/man
COMPLETIONDIR := $(PREFIX)/share/bash-completion/completions

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config

# ---- flags ------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
# Some warnings change with the optimisation: only those of what is shipped end a build.
WARN_ONLY := -Wno-error
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection

ifeq ($(SANITIZE),1)
BUILD := build/sanitize
MODE_CFLAGS := $(WARN_ONLY) -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -DHULL_SANITIZE=1
MODE_LDFLAGS := -fsanitize=address,undefined -pie
STATIC_LINK := $(MODE_LDFLAGS)
YAJL_LIBS := -lyajl
STATIC_FLAG :=
else ifeq ($(VALGRIND),1)
# Shared libraries, so that valgrind sees every allocation; without what hides the program from containers.
BUILD := build/valgrind
MODE_CFLAGS := $(WARN_ONLY) -O1 -g -fcf-protection=none -DHULL_VALGRIND=1
MODE_LDFLAGS := -pie
STATIC_LINK := $(MODE_LDFLAGS)
YAJL_LIBS := -lyajl
STATIC_FLAG :=
else
BUILD := build
MODE_CFLAGS := -O2 -g -D_FORTIFY_SOURCE=2
MODE_LDFLAGS := -pie
# The runtime itself is one static program: it loads nothing, so it starts in a fraction of the time,
# and no library of the host is ever mapped in a process that a container can see.
STATIC_LINK := -static-pie
YAJL_LIBS := -l:libyajl_s.a
STATIC_FLAG := --static
endif
LDHARDENING := -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--gc-sections
# glibc warns where a static program calls what needs shared libraries at run time (getpwnam, dlopen):
# such a call would break a container start on another host, so the warning is an error.
LDHARDENING += -Wl,--fatal-warnings

# ISA-L inflates a few times as fast as zlib, which stays for where there is none (ISAL=0: leave it out).
ISAL ?= $(shell $(PKG_CONFIG) --exists libisal && echo 1)
ISAL_LIBS := $(if $(filter 1,$(ISAL)),$(shell $(PKG_CONFIG) --libs libisal))
ISAL_CFLAGS := $(if $(filter 1,$(ISAL)),-DHULL_ISAL=1)

CPPFLAGS_ALL := -D_GNU_SOURCE -I. -DHULL_VERSION='"$(VERSION)"' -DHULL_LIBEXECDIR='"$(LIBEXECDIR)"' $(ISAL_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL := -std=gnu17 $(WARNINGS) $(HARDENING) -ffunction-sections -fdata-sections $(MODE_CFLAGS) $(CFLAGS)

HULL_LIBS = $(shell $(PKG_CONFIG) --libs $(STATIC_FLAG) libseccomp) $(YAJL_LIBS)
CRIU_LIBS = $(shell $(PKG_CONFIG) --libs libprotobuf-c libcrypto) -lyajl
SYSTEMD_LIBS = $(shell $(PKG_CONFIG) --libs libsystemd)
IMAGE_LIBS = $(shell $(PKG_CONFIG) --libs libarchive libcrypto) $(ISAL_LIBS) -ldl -lyajl -pthread
TEST_LIBS = $(shell $(PKG_CONFIG) --libs cmocka libseccomp libarchive libcrypto) $(ISAL_LIBS) -ldl -lyajl -pthread

# ---- sources ----------------------------------------------------------------------------------

LIB_DIRS := base oci namespaces cgroups microvm sandbox runtime
LIB_SRCS := $(foreach d,$(LIB_DIRS),$(wildcard $(d)/*.c))
IMAGE_SRCS := $(wildcard oci/image/*.c)
HULL_SRCS := $(wildcard cmd/hull/*.c)
HULL_IMAGE_SRCS := $(wildcard cmd/hull-image/*.c)
HULL_SYSTEMD_SRCS := $(wildcard cmd/hull-systemd/*.c)
HULL_CRIU_SRCS := $(wildcard cmd/hull-criu/*.c)
HULL_GUEST_SRCS := $(wildcard cmd/hull-guest/*.c)
HULL_VMM_SRCS := $(wildcard cmd/hull-vmm/*.c)
UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_LIB_SRCS := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SRCS := $(wildcard tests/bench/*.c)
HELPER_SRCS := $(wildcard tests/integration/helpers/*.c)
GUEST_SRCS := tests/guests/guest.c
VERDICT_SRC := tests/schema/verdict.c
MAN_PAGES := $(wildcard man/*.[1578])

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

LIB := $(BUILD)/libhull.a
IMAGE_LIB := $(BUILD)/libimage.a
HULL := $(BUILD)/bin/hull
HULL_IMAGE := $(BUILD)/libexec/hull/hull-image
HULL_SYSTEMD := $(BUILD)/libexec/hull/hull-systemd
HULL_CRIU := $(BUILD)/libexec/hull/hull-criu
HULL_GUEST := $(BUILD)/guest/hull-guest
INITRAMFS := $(BUILD)/libexec/hull/guest.cpio.gz
HULL_VMM := $(BUILD)/libexec/hull/hull-vmm
KERNEL := $(BUILD)/libexec/hull/vmlinux
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(UNIT_SRCS))
BENCHES := $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH_SRCS))
HELPERS := $(patsubst tests/integration/helpers/%.c,$(BUILD)/helpers/%,$(HELPER_SRCS)) $(BUILD)/helpers/verdict
GUESTS := $(BUILD)/guests/guest-pvh $(BUILD)/guests/guest-linux
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SRCS))

# hull-criu needs protobuf-c and its compiler. Where they are missing it is not built, and hull checkpoint says so.
PROTOC_C ?= protoc-c
CRIU ?= $(shell command -v $(PROTOC_C) >/dev/null && $(PKG_CONFIG) --exists libprotobuf-c && echo 1)

PROGRAMS := $(HULL) $(if $(HULL_IMAGE_SRCS),$(HULL_IMAGE)) $(HULL_SYSTEMD) $(if $(filter 1,$(CRIU)),$(HULL_CRIU)) $(HULL_VMM) $(HULL_GUEST)

# ---- building ---------------------------------------------------------------------------------

# One short line a command; V=1 shows the commands themselves.
ifeq ($(V),1)
say =
else
say = @printf '  %-6s %s\n' $(1) $(2);
endif

.PHONY: all
all: $(PROGRAMS) $(HULL)-vm $(INITRAMFS) ## build the programs (default)

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

$(LIB): $(call obj,$(LIB_SRCS))
	@rm -f $@
	$(call say,AR,$@)$(AR) rcs $@ $^

$(IMAGE_LIB): $(call obj,$(IMAGE_SRCS))
	@rm -f $@
	$(call say,AR,$@)$(AR) rcs $@ $^

$(HULL): $(call obj,$(HULL_SRCS)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(STATIC_LINK) $(LDHARDENING) $(LDFLAGS) $^ $(HULL_LIBS) -o $@

$(HULL_GUEST): $(call obj,$(HULL_GUEST_SRCS)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(STATIC_LINK) $(LDHARDENING) $(LDFLAGS) $^ $(HULL_LIBS) -o $@

# What the guest kernel unpacks and starts: process 1 and the console that it opens for it. The same bytes from the same program.
$(INITRAMFS): $(HULL_GUEST) microvm/kernel/initramfs.sh
	@mkdir -p $(@D)
	$(call say,CPIO,$@)microvm/kernel/initramfs.sh $< $@

$(HULL_IMAGE): $(call obj,$(HULL_IMAGE_SRCS)) $(IMAGE_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(MODE_LDFLAGS) $(LDHARDENING) $(LDFLAGS) $^ $(IMAGE_LIBS) -o $@

$(HULL_SYSTEMD): $(call obj,$(HULL_SYSTEMD_SRCS)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(MODE_LDFLAGS) $(LDHARDENING) $(LDFLAGS) $^ $(SYSTEMD_LIBS) -o $@

# What CRIU is told and what it says, generated from its description; not our code, so not under our warnings.
GENERATED := $(BUILD)/generated
RPC := $(GENERATED)/cmd/hull-criu/rpc.pb-c
$(RPC).c: cmd/hull-criu/rpc.proto
	@mkdir -p $(GENERATED)
	$(call say,PROTO,$<)$(PROTOC_C) --c_out=$(GENERATED) $<

$(RPC).h: $(RPC).c ;

$(RPC).o: $(RPC).c
	$(call say,CC,$<)$(CC) $(CPPFLAGS_ALL) -I$(GENERATED) $(CFLAGS_ALL) -w -c $< -o $@

$(call obj,$(HULL_CRIU_SRCS)): $(RPC).h
$(call obj,$(HULL_CRIU_SRCS)): CPPFLAGS_ALL += -I$(GENERATED)

$(HULL_CRIU): $(call obj,$(HULL_CRIU_SRCS)) $(RPC).o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(MODE_LDFLAGS) $(LDHARDENING) $(LDFLAGS) $^ $(CRIU_LIBS) -o $@

# Needs no library but the C library: what the guest could reach through it is as small as can be.
$(HULL_VMM): $(call obj,$(HULL_VMM_SRCS)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(STATIC_LINK) $(LDHARDENING) $(LDFLAGS) $^ -o $@

$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(call obj,$(UNIT_LIB_SRCS)) $(IMAGE_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(MODE_LDFLAGS) $(LDFLAGS) $^ $(TEST_LIBS) -o $@

# hull by the name by which it makes microVMs.
$(HULL)-vm: | $(HULL)
	@ln -sf hull $@

# Benchmarks and the integration tests' helpers run inside containers, too: static, on their own.
# It speaks to hull-vmm.
$(BUILD)/bench/machine: $(BUILD)/obj/tests/bench/machine.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(MODE_LDFLAGS) $(LDFLAGS) -static $^ -o $@

$(BUILD)/bench/%: tests/bench/%.c Makefile
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS_ALL) -std=gnu17 -O2 $(WARNINGS) -static $< -o $@

$(BUILD)/helpers/%: tests/integration/helpers/%.c Makefile
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS_ALL) -std=gnu17 -O2 $(WARNINGS) -static $< -o $@

# Kernels of a few hundred bytes, for hull-vmm. One is 32-bit code in a 64-bit file, which no compiler makes in one go.
GUEST_CFLAGS := -std=gnu17 -O1 $(WARNINGS) -ffreestanding -no-pie -nostdlib -static -mgeneral-regs-only \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -Wl,--build-id=none -Wl,-T,tests/guests/guest.ld
GUEST_DEPS := $(GUEST_SRCS) tests/guests/guest.ld Makefile
$(BUILD)/guests/guest-linux: $(GUEST_DEPS)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) -m64 -fpie $(GUEST_CFLAGS) $< -o $@

$(BUILD)/guests/guest-pvh: $(GUEST_DEPS)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) -m32 -fno-pie $(GUEST_CFLAGS) -Wl,-m,elf_i386 $< -o $@.elf32 && \
		objcopy -I elf32-i386 -O elf64-x86-64 $@.elf32 $@

# This one is hull's own parser, for tests of it on the host.
$(BUILD)/helpers/verdict: $(call obj,$(VERDICT_SRC)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(STATIC_LINK) $(LDFLAGS) $^ $(HULL_LIBS) -o $@

FUZZ_LIB_SRCS = $(wildcard base/*.c oci/*.c oci/image/*.c microvm/*.c)
$(BUILD)/fuzz/%: tests/fuzz/%.c $(FUZZ_LIB_SRCS) Makefile
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)clang $(CPPFLAGS_ALL) -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined \
		$< $(FUZZ_LIB_SRCS) $(IMAGE_LIBS) -o $@

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# ---- running ----------------------------------------------------------------------------------

.PHONY: deps
deps: ## install what is missing with apt-get (or say what that is)
	@scripts/deps.sh all

.PHONY: demo
demo: ## from an OCI image of another tool to a running container and a microVM, step by step (minutes, once)
	@scripts/deps.sh build test kernel lab
	@$(MAKE) --no-print-directory all kernel
	@HULL=$(abspath $(HULL)) scripts/demo.sh

# What the tests are given: the programs of this very build, and which build that is.
TEST_ENV = HULL=$(abspath $(HULL)) HULL_BUILD=$(abspath $(BUILD)) HULL_SANITIZE=$(SANITIZE) \
	HULL_VALGRIND=$(abspath build/valgrind/bin/hull)

.PHONY: helpers
helpers: $(HELPERS) $(GUESTS) ## the programs that integration tests use, for tests/run and tests/lab/run by hand

.PHONY: check
check: all $(UNIT_TESTS) $(HELPERS) $(GUESTS) ## quick tests: unit tests and a part of the integration tests
	@$(TEST_ENV) tests/run --quick

# The lab has Debian's libraries and no sanitizers' ones; a host that offers what it offers needs none.
TEST_VIEWS := native,$(if $(filter 1,$(SANITIZE) $(NATIVE)),v2,lab)

.PHONY: test
test: ## every test, on this host and in the lab (NATIVE=1: without the lab)
	@scripts/deps.sh build test $(if $(findstring lab,$(TEST_VIEWS)),kernel lab)
	@$(MAKE) --no-print-directory all $(UNIT_TESTS) $(HELPERS) $(GUESTS) $(if $(findstring lab,$(TEST_VIEWS)),kernel lab)
	@$(MAKE) --no-print-directory VALGRIND=1 SANITIZE= all
	@$(TEST_ENV) tests/run --view $(TEST_VIEWS)

# The guest kernel of microVMs, from the cache or built into it.
.PHONY: kernel
kernel: ## the guest kernel of microVMs (minutes, once)
	@mkdir -p $(dir $(KERNEL))
	@made=$$(microvm/kernel/build.sh) && { cmp -s $$made $(KERNEL) || install -m644 $$made $(KERNEL); }

.PHONY: lab
lab: ## the machine that tests run in: tests/lab/run -- COMMAND (minutes, once)
	@tests/lab/build

.PHONY: unit
unit: all $(UNIT_TESTS) $(GUESTS) ## unit tests only
	@$(TEST_ENV) tests/run $(UNIT_TESTS)

.PHONY: guards
guards: all $(HELPERS) $(UNIT_TESTS) ## take each guard against an attack out of hull, and see its test fail
	@tests/guards/run

.PHONY: bench
bench: all $(BENCHES) $(GUESTS) ## time hull beside crun, runc, umoci, tar, QEMU and the kernel's own cost
	@$(TEST_ENV) tests/bench/run.sh
	@$(TEST_ENV) tests/bench/unpack.sh
	@[ ! -w /dev/kvm ] || $(TEST_ENV) tests/bench/vmm_start.sh
	@[ ! -w /dev/kvm ] || $(TEST_ENV) tests/bench/restore.sh
	@! { [ -w /dev/kvm ] && grep -qwE 'vmx|svm' /proc/cpuinfo; } || $(TEST_ENV) tests/bench/microvm_start.sh

FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz: $(FUZZERS) ## run each fuzzer for FUZZ_SECONDS=60
	@set -e; for f in $(FUZZERS); do \
		corpus=$(BUILD)/corpus/$${f##*/}; mkdir -p $$corpus; \
		seeds=tests/fuzz/seeds/$${f##*/fuzz_}; [ -d $$seeds ] || seeds=; \
		echo "# $$f: $(FUZZ_SECONDS) s"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=$(BUILD)/fuzz/ $$corpus $$seeds >$$f.log 2>&1 || { cat $$f.log; exit 1; }; \
		sed -n 's/^stat::/  /p' $$f.log; \
	done

HAMMER_SECONDS ?= 600
.PHONY: hammer
hammer: all $(HELPERS) $(GUESTS) ## have a guest write to hull-vmm's devices at random for HAMMER_SECONDS=600 (try SANITIZE=1)
	@$(TEST_ENV) HULL_TEST_TIMEOUT=$$(($(HAMMER_SECONDS) + 300)) HULL_HAMMER_SECONDS=$(HAMMER_SECONDS) \
		tests/run --view native --only 'at random, in any order' tests/integration/vmm.bats

# ---- lint, format -----------------------------------------------------------------------------

C_FILES = $(shell find . -path ./.git -prune -o -path ./build -prune -o -name '*.[ch]' -print | sed 's,^\./,,' | sort)
SHELL_FILES = $(shell find .ci scripts tests microvm -name '*.sh' -o -name '*.bash' -o -name '*.bats' \
	-o -path tests/run -o -path tests/guards/run -o -path .ci/run -o -path 'tests/lab/*' -type f ! -path '*/packages')
LINTS := lint-format lint-tidy lint-cppcheck lint-house lint-man lint-shell lint-hardening

.PHONY: lint $(LINTS)
lint: ## check format, bugs, include direction, file length, pages, scripts, hardening
	@$(MAKE) --no-print-directory --keep-going --output-sync=target \
		$(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) $(LINTS)
	@echo 'lint: nothing found'

lint-format:
	$(call say,LINT,format)clang-format --dry-run -Werror $(C_FILES)

# A file is checked again only after its object was made again, that is, when it or a header of its changed.
TIDY_SRCS := $(LIB_SRCS) $(IMAGE_SRCS) $(HULL_SRCS) $(HULL_IMAGE_SRCS) $(HULL_SYSTEMD_SRCS) $(if $(filter 1,$(CRIU)),$(HULL_CRIU_SRCS)) $(HULL_VMM_SRCS) $(HULL_GUEST_SRCS) $(UNIT_SRCS) $(UNIT_LIB_SRCS) \
	$(FUZZ_SRCS) $(BENCH_SRCS) $(HELPER_SRCS) $(GUEST_SRCS) $(VERDICT_SRC)
lint-tidy: $(patsubst %.c,$(BUILD)/tidy/%.ok,$(TIDY_SRCS))

# clang's own chatter ("N warnings generated") goes to standard error and is dropped, unless it failed.
$(BUILD)/tidy/%.ok: %.c $(BUILD)/obj/%.o .clang-tidy tests/unit/.clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY,$<)clang-tidy --quiet $< -- $(CPPFLAGS_ALL) -I$(GENERATED) -std=gnu17 $(WARNINGS) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

lint-cppcheck:
	@mkdir -p $(BUILD)/cppcheck
	$(call say,LINT,cppcheck)cppcheck --quiet --error-exitcode=1 --std=c11 --language=c --enable=warning,performance,portability \
		--inline-suppr --suppressions-list=.cppcheck --cppcheck-build-dir=$(BUILD)/cppcheck -j2 \
		-D_GNU_SOURCE -D__x86_64__ -DHULL_VERSION='""' -I. $(filter %.c,$(C_FILES))

lint-house:
	$(call say,LINT,house)scripts/lint-includes.sh

lint-man:
	$(call say,LINT,man)$(if $(MAN_PAGES),mandoc -T lint -W warning $(MAN_PAGES))

lint-shell:
	$(call say,LINT,shell)if command -v shellcheck >/dev/null; then shellcheck -x -S warning $(SHELL_FILES); \
	else echo 'lint-shell: no shellcheck here, not checked'; fi

ifneq ($(SANITIZE),1)
lint-hardening: $(PROGRAMS)
	$(call say,LINT,hardening)scripts/check-hardening.sh $(PROGRAMS)
endif

.PHONY: format
format: ## apply .clang-format to every C file
	clang-format -i $(C_FILES)

# ---- installing -------------------------------------------------------------------------------

INSTALLED = $(BINDIR)/hull $(BINDIR)/hull-vm $(LIBEXECDIR)/hull-image $(LIBEXECDIR)/hull-systemd $(LIBEXECDIR)/hull-criu $(LIBEXECDIR)/hull-vmm $(LIBEXECDIR)/guest.cpio.gz $(LIBEXECDIR)/vmlinux $(COMPLETIONDIR)/hull \
	$(foreach p,$(MAN_PAGES),$(MANDIR)/man$(subst .,,$(suffix $(p)))/$(notdir $(p)))

.PHONY: install
install: all install-files ## install to DESTDIR and PREFIX=/usr/local

# What is built already, and the guest kernel where `make kernel` has made it.
.PHONY: install-files
install-files:
	install -Dm755 $(HULL) $(DESTDIR)$(BINDIR)/hull
	ln -sf hull $(DESTDIR)$(BINDIR)/hull-vm
	install -Dm755 $(HULL_IMAGE) $(DESTDIR)$(LIBEXECDIR)/hull-image
	install -Dm755 $(HULL_SYSTEMD) $(DESTDIR)$(LIBEXECDIR)/hull-systemd
	$(if $(wildcard $(HULL_CRIU)),install -Dm755 $(HULL_CRIU) $(DESTDIR)$(LIBEXECDIR)/hull-criu)
	install -Dm755 $(HULL_VMM) $(DESTDIR)$(LIBEXECDIR)/hull-vmm
	install -Dm644 $(INITRAMFS) $(DESTDIR)$(LIBEXECDIR)/guest.cpio.gz
	$(if $(wildcard $(KERNEL)),install -Dm644 $(KERNEL) $(DESTDIR)$(LIBEXECDIR)/vmlinux)
	install -Dm644 scripts/completion.bash $(DESTDIR)$(COMPLETIONDIR)/hull
	$(foreach p,$(MAN_PAGES),install -Dm644 $(p) $(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(p)))/$(notdir $(p)) &&) true

.PHONY: uninstall
uninstall: ## remove what install put there, and nothing else
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-rmdir $(DESTDIR)$(LIBEXECDIR) 2>/dev/null

# ---- the rest ---------------------------------------------------------------------------------

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'Variables: V=1 (show commands), SANITIZE=1 (address and undefined-behaviour sanitizers, in build/sanitize), DESTDIR, PREFIX,'
	@echo 'CC, CFLAGS, LDFLAGS, FUZZ_SECONDS, NATIVE=1 (tests without the lab).'

.DEFAULT_GOAL := all
.SECONDARY:
.DELETE_ON_ERROR:
